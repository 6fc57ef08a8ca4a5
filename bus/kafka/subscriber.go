package kafka

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	watermillkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// SubscriberConfig is how [NewSubscriber] consumes.
type SubscriberConfig struct {
	// Config is how to reach the cluster.
	Config Config
	// ConsumerGroup shares the partitions among its members and remembers how far they came. A new group
	// starts at the oldest record. Without one, each subscriber gets every record there is, each time.
	ConsumerGroup string
	// NackResendSleep is the pause before a message that was nacked is delivered again; the default is
	// 1 s. Its partition waits meanwhile.
	NackResendSleep time.Duration
	// ReconnectRetrySleep is the pause between attempts to reach the cluster; the default is 1 s.
	ReconnectRetrySleep time.Duration
	// Sarama, if set, may change further settings of the consumer.
	Sarama func(*sarama.Config)
}

// Validate reports all mistakes at once, each wrapping [ErrConfig].
func (c SubscriberConfig) Validate() error {
	errs := []error{c.Config.Validate()}
	if c.NackResendSleep < 0 {
		errs = append(errs, configError("NackResendSleep is %v; it must be positive, or 0 for 1s", c.NackResendSleep))
	}
	if c.ReconnectRetrySleep < 0 {
		errs = append(errs, configError("ReconnectRetrySleep is %v; it must be positive, or 0 for 1s", c.ReconnectRetrySleep))
	}
	return errors.Join(errs...)
}

// NewSubscriber returns watermill-kafka's subscriber with these settings. It connects on Subscribe. A
// message has the UUID and metadata it was published with, its record key as the metadata
// [delivery.KeyMetadata] (absent for a null key), and in its context where it came from
// ([delivery.OriginFrom], and what watermill-kafka puts there). The error lists every mistake and wraps
// [ErrConfig].
//
// The message's context ends when the consumer group shares its partitions out anew, so that a handler
// whose partition is taken away stops, and the member rejoins in time: whoever has the partition then
// gets the message again. (With sarama's cooperative strategy the context goes on until the group would
// throw the member out.) A message that was nacked waits NackResendSleep, and no longer than its
// partition is ours.
func NewSubscriber(config SubscriberConfig, logger watermill.LoggerAdapter) (message.Subscriber, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	settings, err := config.Config.Sarama()
	if err != nil {
		return nil, err
	}
	if config.Sarama != nil {
		config.Sarama(settings)
	}
	s := &subscriber{
		settings: watermillkafka.SubscriberConfig{
			Brokers:               config.Config.Brokers,
			Unmarshaler:           unmarshaler{},
			OverwriteSaramaConfig: settings,
			ConsumerGroup:         config.ConsumerGroup,
			NackResendSleep:       watermillkafka.NoSleep, // subscription waits, and can be interrupted
			ReconnectRetrySleep:   cmp.Or(config.ReconnectRetrySleep, time.Second),
		},
		logger:  logger,
		resend:  cmp.Or(config.NackResendSleep, time.Second),
		closing: make(chan struct{}),
		inner:   map[*watermillkafka.Subscriber]struct{}{},
	}
	if config.ConsumerGroup != "" {
		s.rebalance = settings.Consumer.Group.Rebalance.Timeout
	}
	return s, nil
}

// unmarshaler adds the record key to what watermill-kafka's unmarshaler gives back.
type unmarshaler struct {
	watermillkafka.DefaultMarshaler
}

func (u unmarshaler) Unmarshal(record *sarama.ConsumerMessage) (*message.Message, error) {
	msg, err := u.DefaultMarshaler.Unmarshal(record)
	if err == nil && record.Key != nil {
		msg.Metadata.Set(delivery.KeyMetadata, string(record.Key))
	}
	return msg, err
}

// subscriber makes a watermill-kafka subscriber for each subscription, so that each has one member of the
// group, whose session is known.
type subscriber struct {
	settings  watermillkafka.SubscriberConfig
	logger    watermill.LoggerAdapter
	resend    time.Duration
	rebalance time.Duration

	closing chan struct{}
	running sync.WaitGroup

	mu     sync.Mutex
	closed bool
	inner  map[*watermillkafka.Subscriber]struct{} // of subscriptions that have not ended
}

var errSubscriberClosed = errors.New("kafka: the subscriber is closed")

// Subscribe is message.Subscriber's.
func (s *subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	settings, session := s.settings, new(session)
	if settings.ConsumerGroup != "" {
		settings.Tracer = session
	}
	if s.isClosed() {
		return nil, errSubscriberClosed
	}
	inner, err := watermillkafka.NewSubscriber(settings, s.logger)
	if err != nil {
		return nil, err
	}
	messages, err := inner.Subscribe(ctx, topic) // waits for a broker, and Close must not wait for that
	if err != nil {
		return nil, errors.Join(err, inner.Close())
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, errors.Join(errSubscriberClosed, inner.Close())
	}
	defer s.mu.Unlock()
	s.inner[inner] = struct{}{}
	sub := &subscription{
		subscriber: s, topic: topic, session: session,
		out: make(chan *message.Message), held: map[int32]*held{},
	}
	s.running.Go(func() {
		sub.forward(messages)
		s.ended(inner)
	})
	return sub.out, nil
}

func (s *subscriber) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *subscriber) ended(inner *watermillkafka.Subscriber) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.inner, inner)
}

// Close is message.Subscriber's.
func (s *subscriber) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	all := slices.Collect(maps.Keys(s.inner))
	s.mu.Unlock()
	if !first {
		s.running.Wait() // as the first Close does
		return nil
	}
	close(s.closing)
	var closed sync.WaitGroup
	errs := make([]error, len(all))
	for i, inner := range all {
		closed.Go(func() { errs[i] = inner.Close() })
	}
	closed.Wait()
	s.running.Wait()
	return errors.Join(errs...)
}
