package kafka

import (
	"cmp"
	"context"
	"errors"
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
	inner, err := watermillkafka.NewSubscriber(watermillkafka.SubscriberConfig{
		Brokers:               config.Config.Brokers,
		Unmarshaler:           unmarshaler{},
		OverwriteSaramaConfig: settings,
		ConsumerGroup:         config.ConsumerGroup,
		NackResendSleep:       cmp.Or(config.NackResendSleep, time.Second),
		ReconnectRetrySleep:   cmp.Or(config.ReconnectRetrySleep, time.Second),
	}, logger)
	if err != nil {
		return nil, err
	}
	return &subscriber{inner: inner, closing: make(chan struct{})}, nil
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

// subscriber puts the origin of each message into its context, which watermill-kafka sets after it was
// unmarshalled.
type subscriber struct {
	inner   *watermillkafka.Subscriber
	once    sync.Once
	closing chan struct{}
	running sync.WaitGroup
}

// Subscribe is message.Subscriber's.
func (s *subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	messages, err := s.inner.Subscribe(ctx, topic)
	if err != nil {
		return nil, err
	}
	out := make(chan *message.Message)
	s.running.Go(func() {
		defer close(out)
		for msg := range messages {
			msg.SetContext(delivery.WithOrigin(msg.Context(), origin(msg.Context(), topic)))
			select {
			case out <- msg:
			case <-msg.Context().Done():
			case <-s.closing:
			}
		}
	})
	return out, nil
}

func origin(ctx context.Context, topic string) delivery.Origin {
	origin := delivery.Origin{Topic: topic}
	origin.Partition, _ = watermillkafka.MessagePartitionFromCtx(ctx)
	origin.Offset, _ = watermillkafka.MessagePartitionOffsetFromCtx(ctx)
	origin.Key, _ = watermillkafka.MessageKeyFromCtx(ctx)
	origin.Time, _ = watermillkafka.MessageTimestampFromCtx(ctx)
	return origin
}

// Close is message.Subscriber's.
func (s *subscriber) Close() error {
	s.once.Do(func() { close(s.closing) })
	err := s.inner.Close()
	s.running.Wait()
	return err
}
