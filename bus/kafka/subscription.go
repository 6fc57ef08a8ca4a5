package kafka

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	watermillkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// subscription is one topic's messages on their way from watermill-kafka to who subscribed. It puts the
// message's origin into its context, ends that context with the group's session, and makes a nacked
// message wait.
type subscription struct {
	*subscriber

	topic   string
	session *session
	out     chan *message.Message
	resends sync.WaitGroup
	// held is the message that is being handled of each partition. Only forward touches it.
	held map[int32]*held
}

// held is a message between its first delivery and its ack. watermill-kafka gives every copy of it the
// same context.
type held struct {
	inner context.Context
	// ctx ends when inner does, or with the session.
	ctx context.Context
	// session is Done when the partition may belong to another member.
	session context.Context
	release func()
}

func (s *subscription) forward(messages <-chan *message.Message) {
	for msg := range messages {
		inner := msg.Context()
		partition, _ := watermillkafka.MessagePartitionFromCtx(inner)
		h := s.held[partition]
		nacked := h != nil && h.inner == inner
		if !nacked {
			if h != nil {
				h.release()
			}
			h = s.hold(inner)
			s.held[partition] = h
		}
		msg.SetContext(h.ctx)
		if nacked {
			s.resends.Go(func() { s.deliver(h, msg, s.resend) })
		} else {
			s.deliver(h, msg, 0)
		}
	}
	for _, h := range s.held {
		h.release()
	}
	s.resends.Wait()
	close(s.out)
}

func (s *subscription) hold(inner context.Context) *held {
	h := &held{inner: inner, session: s.session.context()}
	ctx, cancel := context.WithCancel(inner)
	stop := context.AfterFunc(h.session, cancel)
	h.release = func() { stop(); cancel() }
	origin := origin(inner, s.topic)
	origin.RebalanceTimeout, origin.Group = s.rebalance, s.settings.ConsumerGroup
	h.ctx = delivery.WithOrigin(ctx, origin)
	return h
}

// deliver hands the message on after a pause, or takes it back when its partition may be another's.
func (s *subscription) deliver(h *held, msg *message.Message, pause time.Duration) {
	if pause > 0 {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-h.ctx.Done():
		case <-s.closing:
		}
	}
	if h.ctx.Err() == nil {
		select {
		case s.out <- msg:
			return
		case <-h.ctx.Done():
		case <-s.closing:
		}
	}
	if h.session.Err() != nil {
		// watermill-kafka waits for an ack or the end of the subscription, whatever became of the session,
		// and the group for watermill-kafka. It marks nothing for a session that has ended.
		msg.Ack()
	}
}

func origin(ctx context.Context, topic string) delivery.Origin {
	origin := delivery.Origin{Topic: topic}
	origin.Partition, _ = watermillkafka.MessagePartitionFromCtx(ctx)
	origin.Offset, _ = watermillkafka.MessagePartitionOffsetFromCtx(ctx)
	origin.Key, _ = watermillkafka.MessageKeyFromCtx(ctx)
	origin.Time, _ = watermillkafka.MessageTimestampFromCtx(ctx)
	return origin
}

// session notes the present session of one group member. A member has one after the other, and none ends
// before the messages of its claims are settled, so a message that comes out belongs to the present one.
// It is the only thing watermill-kafka lets in between itself and sarama: a tracer that traces nothing.
type session struct {
	current atomic.Pointer[context.Context]
}

// context is the session's, which ends when the group shares its partitions out anew; for a subscription
// without a group it never does.
func (s *session) context() context.Context {
	if ctx := s.current.Load(); ctx != nil {
		return *ctx
	}
	return context.Background()
}

// WrapConsumerGroupHandler is watermill-kafka's SaramaTracer's.
func (s *session) WrapConsumerGroupHandler(handler sarama.ConsumerGroupHandler) sarama.ConsumerGroupHandler {
	return sessionHandler{handler, s}
}

// WrapConsumer is watermill-kafka's SaramaTracer's.
func (s *session) WrapConsumer(consumer sarama.Consumer) sarama.Consumer { return consumer }

// WrapPartitionConsumer is watermill-kafka's SaramaTracer's.
func (s *session) WrapPartitionConsumer(consumer sarama.PartitionConsumer) sarama.PartitionConsumer {
	return consumer
}

// WrapSyncProducer is watermill-kafka's SaramaTracer's.
func (s *session) WrapSyncProducer(_ *sarama.Config, producer sarama.SyncProducer) sarama.SyncProducer {
	return producer
}

type sessionHandler struct {
	sarama.ConsumerGroupHandler

	session *session
}

// Setup is called before the session's first claim is consumed.
func (h sessionHandler) Setup(session sarama.ConsumerGroupSession) error {
	ctx := session.Context()
	h.session.current.Store(&ctx)
	return h.ConsumerGroupHandler.Setup(session)
}
