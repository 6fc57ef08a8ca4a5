package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/rcrowley/go-metrics"

	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/delivery"
)

// DefaultMailboxGroup is the consumer group that keeps the progress of requeueing.
const DefaultMailboxGroup = "tailrace-dead-letters"

// MailboxConfig is how a [Mailbox] reads the dead-letter topic. Config and Topic are needed.
type MailboxConfig struct {
	// Config is how to reach the cluster.
	Config Config
	// Topic is the dead-letter topic, complete with prefix.
	Topic string
	// Group is the consumer group whose committed offsets are the progress; the default is
	// [DefaultMailboxGroup]. No consumer may join it.
	Group string
	// QuietTime is how long a broker may answer without a record before a partition's end is believed to be
	// reached although its last offsets are missing, as a compacted topic's are; the default is 5 s.
	QuietTime time.Duration
	// Logger is told of faults that are tried again; nil logs nothing.
	Logger *slog.Logger
}

// Validate reports all mistakes at once, each wrapping [ErrConfig].
func (c MailboxConfig) Validate() error {
	errs := []error{c.Config.Validate()}
	if err := legalTopic(c.Topic); err != nil {
		errs = append(errs, configError("Topic %q: %w", c.Topic, err))
	}
	if c.QuietTime < 0 {
		errs = append(errs, configError("QuietTime is %v; it must be positive, or 0 for 5s", c.QuietTime))
	}
	return errors.Join(errs...)
}

// Mailbox is a deadletter.Mailbox: it reads the dead-letter topic from one offset to another, and keeps
// the progress in a consumer group. It is safe for concurrent use.
type Mailbox struct {
	config   MailboxConfig
	settings *sarama.Config
	dialer   *dialer
	answers  *answerCount

	mu     sync.Mutex
	client sarama.Client
	closed bool
}

var _ deadletter.Mailbox = (*Mailbox)(nil)

// NewMailbox returns a mailbox. It connects when it is first asked for something. The error lists every
// mistake and wraps [ErrConfig].
func NewMailbox(config MailboxConfig) (*Mailbox, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	settings, err := config.Config.Sarama()
	if err != nil {
		return nil, err
	}
	settings.Consumer.MaxWaitTime = 50 * time.Millisecond // at the end of a partition, a fetch is waited for in vain
	answers := new(answerCount)
	settings.MetricRegistry = answers
	config.Group = cmp.Or(config.Group, DefaultMailboxGroup)
	config.QuietTime = cmp.Or(config.QuietTime, 5*time.Second)
	config.Logger = cmp.Or(config.Logger, slog.New(slog.DiscardHandler))
	return &Mailbox{config: config, settings: settings, dialer: newDialer(context.Background(), settings), answers: answers}, nil
}

// Close ends the connections. It may be called more than once.
func (m *Mailbox) Close() error {
	m.dialer.close()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	if m.client == nil {
		return nil
	}
	err := m.client.Close()
	m.client = nil
	return err
}

func (m *Mailbox) connect() (sarama.Client, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	if m.client == nil {
		client, err := sarama.NewClient(m.config.Config.Brokers, m.settings)
		if err != nil {
			return nil, err
		}
		m.client = client
	}
	return m.client, nil
}

// ask calls a function that knows no context, and does not wait for it once the context has ended. What the
// function then still opens is for drop to close, if that is not nil.
func ask[T any](ctx context.Context, m *Mailbox, what string, f func(sarama.Client) (T, error), drop func(T)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answered := make(chan answer)
	go func() {
		var a answer
		for try := 1; ; try++ {
			client, err := m.connect()
			if a.err = err; err == nil {
				a.value, a.err = f(client)
			}
			if try == askTries || !coordinatorMoves(a.err) {
				break
			}
			select {
			case <-time.After(askPause):
			case <-ctx.Done():
			}
			if ctx.Err() != nil {
				break
			}
		}
		select {
		case answered <- a:
		case <-ctx.Done():
			if a.err == nil && drop != nil {
				drop(a.value)
			}
		}
	}()
	select {
	case a := <-answered:
		if a.err != nil {
			return a.value, fmt.Errorf("kafka: %s %s: %w", what, m.config.Topic, a.err)
		}
		return a.value, nil
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("kafka: %s %s: %w", what, m.config.Topic, ctx.Err())
	}
}

// A cluster's first group makes it create the topic of the offsets, which takes some seconds.
const (
	askTries = 60
	askPause = 500 * time.Millisecond
)

// coordinatorMoves reports whether the group's coordinator is not there yet, or not there any more.
func coordinatorMoves(err error) bool {
	var code sarama.KError
	if !errors.As(err, &code) {
		return false
	}
	switch code {
	case sarama.ErrOffsetsLoadInProgress, sarama.ErrConsumerCoordinatorNotAvailable, sarama.ErrNotCoordinatorForConsumer:
		return true
	default:
		return false
	}
}

// Partitions is deadletter.Mailbox's.
func (m *Mailbox) Partitions(ctx context.Context) ([]deadletter.Partition, error) {
	return ask(ctx, m, "looking at", func(client sarama.Client) ([]deadletter.Partition, error) {
		ids, err := client.Partitions(m.config.Topic)
		if err != nil {
			return nil, err
		}
		slices.Sort(ids)
		admin, err := sarama.NewClusterAdminFromClient(client)
		if err != nil {
			return nil, err
		}
		committed, err := admin.ListConsumerGroupOffsets(m.config.Group, map[string][]int32{m.config.Topic: ids})
		if err != nil && !errors.Is(err, sarama.ErrGroupIDNotFound) { // nothing was committed yet
			return nil, fmt.Errorf("group %s: %w", m.config.Group, err)
		}
		partitions := make([]deadletter.Partition, len(ids))
		for i, id := range ids {
			p := deadletter.Partition{ID: id, Committed: -1}
			if p.Start, err = client.GetOffset(m.config.Topic, id, sarama.OffsetOldest); err != nil {
				return nil, err
			}
			if p.End, err = client.GetOffset(m.config.Topic, id, sarama.OffsetNewest); err != nil {
				return nil, err
			}
			if block := committed.GetBlock(m.config.Topic, id); block != nil {
				switch block.Err {
				case sarama.ErrNoError, sarama.ErrGroupIDNotFound:
				default:
					return nil, fmt.Errorf("group %s: %w", m.config.Group, block.Err)
				}
				p.Committed, p.Note = block.Offset, block.Metadata
			}
			partitions[i] = p
		}
		return partitions, nil
	}, nil)
}

// Commit is deadletter.Mailbox's.
func (m *Mailbox) Commit(ctx context.Context, partition int32, offset int64, note string) error {
	_, err := ask(ctx, m, "committing the progress in", func(client sarama.Client) (none struct{}, err error) {
		admin, err := sarama.NewClusterAdminFromClient(client)
		if err != nil {
			return none, err
		}
		offsets := map[int32]sarama.OffsetAndMetadata{partition: {Offset: offset, Metadata: note, LeaderEpoch: -1}}
		response, err := admin.AlterConsumerGroupOffsets(m.config.Group, map[string]map[int32]sarama.OffsetAndMetadata{m.config.Topic: offsets}, nil)
		if err != nil {
			return none, fmt.Errorf("group %s: %w", m.config.Group, err)
		}
		if code := response.Errors[m.config.Topic][partition]; code != sarama.ErrNoError {
			return none, fmt.Errorf("group %s: %w", m.config.Group, code)
		}
		return none, nil
	}, nil)
	return err
}

// Read is deadletter.Mailbox's.
func (m *Mailbox) Read(ctx context.Context, partition int32, from, to int64, yield func(deadletter.Record) error) error {
	if from >= to {
		return ctx.Err()
	}
	reader, err := ask(ctx, m, "reading", func(client sarama.Client) (*partitionReader, error) {
		consumer, err := sarama.NewConsumerFromClient(client)
		if err != nil {
			return nil, err
		}
		oldest, err := client.GetOffset(m.config.Topic, partition, sarama.OffsetOldest)
		if err != nil {
			return nil, errors.Join(err, consumer.Close())
		}
		records, err := consumer.ConsumePartition(m.config.Topic, partition, max(from, oldest))
		if err != nil {
			return nil, errors.Join(err, consumer.Close())
		}
		return &partitionReader{consumer, records}, nil
	}, (*partitionReader).close)
	if err != nil {
		return err
	}
	defer reader.close()
	return m.drain(ctx, reader, to, yield)
}

type partitionReader struct {
	consumer sarama.Consumer
	records  sarama.PartitionConsumer
}

func (r *partitionReader) close() {
	_ = r.records.Close() // which repeats the faults that were logged
	_ = r.consumer.Close()
}

func (m *Mailbox) drain(ctx context.Context, reader *partitionReader, to int64, yield func(deadletter.Record) error) error {
	quiet := time.NewTimer(m.config.QuietTime)
	defer quiet.Stop()
	var fault error
	answers := m.answers.fetches.Load()
	for {
		select {
		case record := <-reader.records.Messages():
			if record == nil {
				return fmt.Errorf("kafka: reading %s: %w", m.config.Topic, cmp.Or(fault, ErrClosed))
			}
			if record.Offset >= to {
				return nil
			}
			if err := yield(fromSarama(record)); err != nil {
				return err
			}
			if record.Offset == to-1 {
				return nil
			}
			fault = nil
		case err := <-reader.records.Errors():
			if err == nil {
				continue
			}
			fault = err
			m.config.Logger.Warn("kafka: reading the dead letters failed and is tried again", "topic", m.config.Topic, "error", err)
		case <-quiet.C:
			if fault != nil {
				return fmt.Errorf("kafka: reading %s: %w", m.config.Topic, fault)
			}
			// A broker that is away, or throttles this client, brings nothing either.
			if m.answers.fetches.Load() != answers {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("kafka: reading %s: %w", m.config.Topic, ctx.Err())
		}
		answers = m.answers.fetches.Load()
		quiet.Reset(m.config.QuietTime)
	}
}

// answerCount counts the answers to fetches, those without a record too. sarama tells of them by a metric alone.
type answerCount struct {
	discardMetrics
	metrics.NilHistogram

	fetches atomic.Int64
}

// GetOrRegister is metrics.Registry's.
func (c *answerCount) GetOrRegister(name string, metric any) any {
	if name == "consumer-batch-size" {
		return c
	}
	return c.discardMetrics.GetOrRegister(name, metric)
}

// Update is metrics.Histogram's: a partition's answer has so many records.
func (c *answerCount) Update(int64) { c.fetches.Add(1) }

func fromSarama(record *sarama.ConsumerMessage) deadletter.Record {
	headers := make([]delivery.Header, len(record.Headers))
	for i, header := range record.Headers {
		headers[i] = delivery.Header{Key: string(header.Key), Value: header.Value}
	}
	return deadletter.Record{
		Partition: record.Partition, Offset: record.Offset, Time: record.Timestamp,
		Key: record.Key, Value: record.Value, Headers: headers,
	}
}
