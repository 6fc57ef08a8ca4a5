package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	wkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	wforwarder "github.com/ThreeDotsLabs/watermill/components/forwarder"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/tailrace-go/tailrace/bus/kafka"
)

// watermill has Watermill's own chain (its SQL schema, SQL subscriber, forwarder component and Kafka
// publisher, with their defaults, acks=all and its own partitioning by key) forward the first sample of n
// events, with all the others behind them.
func (r *room) watermill(ctx context.Context, n, sample int) (used cost, err error) {
	if err := r.fillWatermill(ctx, n); err != nil {
		return cost{}, err
	}
	subscriber, err := wsql.NewSubscriber(r.db, wsql.SubscriberConfig{
		SchemaAdapter: wsql.DefaultPostgreSQLSchema{}, OffsetsAdapter: wsql.DefaultPostgreSQLOffsetsAdapter{}, InitializeSchema: true,
	}, watermill.NopLogger{})
	if err != nil {
		return cost{}, fmt.Errorf("%w", err)
	}
	publisher, err := watermillPublisher(r.cluster)
	if err != nil {
		return cost{}, err
	}
	counted := &countingPublisher{Publisher: publisher, want: int64(sample), done: make(chan struct{})}
	f, err := wforwarder.NewForwarder(subscriber, counted, watermill.NopLogger{}, wforwarder.Config{ForwarderTopic: forwarderTopic, CloseTimeout: time.Second})
	if err != nil {
		return cost{}, errors.Join(fmt.Errorf("%w", err), publisher.Close())
	}
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	used, err = timed(func() error {
		go func() { ended <- f.Run(running) }()
		select {
		case <-counted.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	cancel()
	err = errors.Join(err, <-ended)
	_ = f.Close() // It waits for the event on its way, or says that it did not come to an end.
	return used, err
}

const forwarderTopic = "forward"

func (r *room) fillWatermill(ctx context.Context, n int) error {
	inner, err := wsql.NewPublisher(r.db, wsql.PublisherConfig{SchemaAdapter: wsql.DefaultPostgreSQLSchema{}, AutoInitializeSchema: true}, watermill.NopLogger{})
	if err != nil {
		return fmt.Errorf("%w", err)
	}
	publisher := wforwarder.NewPublisher(inner, wforwarder.PublisherConfig{ForwarderTopic: forwarderTopic})
	for i := 0; i < n && ctx.Err() == nil; i += 1000 {
		messages := make([]*message.Message, min(1000, n-i))
		for j := range messages {
			messages[j] = message.NewMessage(uuid.NewString(), payload(i+j))
			messages[j].Metadata.Set("key", fmt.Sprintf("user-%d", (i+j)*7919%eventKeys))
		}
		if err := publisher.Publish(r.topic, messages...); err != nil {
			return fmt.Errorf("fill Watermill's table: %w", err)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return r.vacuum(ctx, "watermill_"+forwarderTopic)
}

// payload is of the size and form of fill's.
func payload(i int) []byte {
	body := fmt.Sprintf(`{"metadata":{"event_id":"%d"},"event_type":"user_created","payload":{"pad":"`, i)
	return []byte(body + strings.Repeat("x", eventBytes-len(body)-3) + `"}}`)
}

// watermillPublisher is Watermill's, with the connection's settings and acks=all put over its defaults.
func watermillPublisher(cluster kafka.Config) (message.Publisher, error) {
	ours, err := cluster.Sarama()
	if err != nil {
		return nil, err
	}
	config := wkafka.DefaultSaramaSyncPublisherConfig()
	config.ClientID, config.Version, config.Net = ours.ClientID, ours.Version, ours.Net
	config.Producer.RequiredAcks = sarama.WaitForAll
	publisher, err := wkafka.NewPublisher(wkafka.PublisherConfig{
		Brokers: cluster.Brokers, OverwriteSaramaConfig: config,
		Marshaler: wkafka.NewWithPartitioningMarshaler(func(_ string, msg *message.Message) (string, error) { return msg.Metadata.Get("key"), nil }),
	}, watermill.NopLogger{})
	if err != nil {
		return nil, fmt.Errorf("%w", err)
	}
	return publisher, nil
}

// countingPublisher tells when as many were published as are wanted.
type countingPublisher struct {
	message.Publisher

	n    atomic.Int64
	want int64
	done chan struct{}
}

func (p *countingPublisher) Publish(topic string, messages ...*message.Message) error {
	if err := p.Publisher.Publish(topic, messages...); err != nil {
		return err
	}
	before := p.n.Add(int64(len(messages))) - int64(len(messages))
	if before < p.want && before+int64(len(messages)) >= p.want {
		close(p.done)
	}
	return nil
}
