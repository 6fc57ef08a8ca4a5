package outbox

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// ForwarderTopic is the topic under which a [Subscriber] delivers every row, whatever its topic, in the
// envelope that Watermill's components/forwarder unwraps. It is that component's default topic.
const ForwarderTopic = "forwarder_topic"

// SubscriberConfig is how a [Subscriber] reads the outbox. Only DB is required.
type SubscriberConfig struct {
	// DB is the database of the table. The subscriber keeps one connection to itself, which must reach
	// the server directly or through a session pooler, and settles on another.
	DB *sql.DB
	// Table is the outbox table, "table" or "schema.table". Default: [DefaultTable].
	Table string
	// Owner names this process in the state table. Default: host:pid.
	Owner string
	// BatchSize is how many rows are read at once; they are delivered one by one. Default: 100.
	BatchSize int
	// PollInterval is the time between two reads that find nothing. Default: 100 ms.
	PollInterval time.Duration
	// SweepInterval is the time between two looks for rows that became pending again behind the
	// reader. Default: 10 s.
	SweepInterval time.Duration
	// RetryMin and RetryMax bound the wait before a row is delivered again after a failure, doubling
	// with each. Default: 1 s and 5 min.
	RetryMin, RetryMax time.Duration
	// Lease is how long the subscriber acts on its last word from the server. A quarter more, and the
	// server gives a frozen subscriber's ownership to another. Default: 1.2 s.
	Lease time.Duration
	// StandbyPoll is how often a subscriber that does not own the table tries to. Default: 1 s.
	StandbyPoll time.Duration
	// CloseTimeout is how long Close, and the end of a subscription's context, wait for a message that
	// a handler has in hand. Default: 10 s.
	CloseTimeout time.Duration
	// Fault says whose fault a failure is (see [NoteFailure]): [delivery.Transport] never counts
	// against an event and pauses the subscription, [delivery.Topic] pauses the event's topic and
	// counts at most once in TopicRetry, anything else counts. Default: context.Canceled is the
	// transport's, all else the event's.
	Fault func(error) delivery.Fault
	// TopicRetry is the time between two attempts counted while a topic is paused. Default: 1 min.
	TopicRetry time.Duration
	// DeadLetters takes the copies of events that have spent max_retries, under DeadLetterTopic. Only
	// once it has one is the event dead. Default: none; the row stays for the operator either way. It is
	// the caller's to close.
	DeadLetters     message.Publisher
	DeadLetterTopic string
}

func (c SubscriberConfig) complete() (SubscriberConfig, table, error) {
	t, err := parseTable(c.Table)
	faults := []error{err}
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("outbox: SubscriberConfig."+format, args...))
		}
	}
	fault(c.DB == nil, "DB is nil: pass the *sql.DB that holds the outbox")
	fault(c.DB != nil && c.DB.Stats().MaxOpenConnections == 1, "DB may open one connection only: the subscriber keeps one and settles on another, allow 2")
	fault(c.BatchSize < 0, "BatchSize is %d: at least 1, or 0 for 100", c.BatchSize)
	for _, d := range []struct {
		name  string
		value *time.Duration
		or    time.Duration
	}{
		{"PollInterval", &c.PollInterval, 100 * time.Millisecond},
		{"SweepInterval", &c.SweepInterval, 10 * time.Second},
		{"RetryMin", &c.RetryMin, time.Second},
		{"RetryMax", &c.RetryMax, 5 * time.Minute},
		{"Lease", &c.Lease, 1200 * time.Millisecond},
		{"StandbyPoll", &c.StandbyPoll, time.Second},
		{"CloseTimeout", &c.CloseTimeout, 10 * time.Second},
		{"TopicRetry", &c.TopicRetry, time.Minute},
	} {
		fault(*d.value < 0, "%s is %s: it must be positive, or 0 for %s", d.name, *d.value, d.or)
		*d.value = cmp.Or(*d.value, d.or)
	}
	fault(c.RetryMin > c.RetryMax, "RetryMin %s is above RetryMax %s", c.RetryMin, c.RetryMax)
	fault(c.Lease > 0 && c.Lease < 100*time.Millisecond, "Lease is %s: below 100ms a pause of the process would lose the table", c.Lease)
	fault(c.DeadLetters != nil && c.DeadLetterTopic == "", "DeadLetters is set without DeadLetterTopic: name the topic of the copies")
	fault(c.DeadLetters == nil && c.DeadLetterTopic != "", "DeadLetterTopic is set without DeadLetters: pass a publisher for the copies")
	c.BatchSize = cmp.Or(c.BatchSize, 100)
	if c.Owner == "" {
		host, _ := os.Hostname()
		c.Owner = fmt.Sprintf("%s:%d", cmp.Or(host, "localhost"), os.Getpid())
	}
	if c.Fault == nil {
		c.Fault = func(err error) delivery.Fault {
			if errors.Is(err, context.Canceled) {
				return delivery.Transport
			}
			return delivery.Refused
		}
	}
	return c, t, errors.Join(faults...)
}

// Subscriber delivers the rows of an outbox table as Watermill messages: it is a [message.Subscriber]
// for a plain router (Subscribe takes a row's topic) and for Watermill's components/forwarder
// ([ForwarderTopic]). It delivers one message at a time, in id order within (topic, key), at least once.
// The forwarder package does the same work many times faster.
//
// An acked message's row is processed. A nacked one is delivered again after a pause, and at max_retries
// it is dead. Later rows of its key wait for it; other keys flow. Why a handler failed is known only to
// who calls [NoteFailure]; [NoteFailures] is the middleware that does.
//
// One subscriber, or forwarder, owns the table at a time, by the same advisory lock; any others stand by
// and take over when its connection ends or it freezes. The topics of one table are therefore best
// subscribed to on one Subscriber.
//
// It reads one table, and refuses one that is a shard of several ([ErrSharded]). Of a partitioned one it makes
// the partitions ahead of the publishers, as the forwarder does. It ends nothing: processed rows stay, and
// their partitions.
//
// watermill-sql's own Subscriber is not used, since it cannot hold these rules: it tells the database
// nothing of a nack, keeps a transaction open while a message is handled, and delivers one topic's rows
// to several subscribers at once.
type Subscriber struct {
	config  SubscriberConfig
	table   table
	store   *Store
	owner   *ownership
	logger  watermill.LoggerAdapter
	closing chan struct{}
	running sync.WaitGroup

	mu         sync.Mutex
	closed     bool
	turns      map[string]bool
	state      SubscriberState
	unfinished int
}

// SubscriberState is how a [Subscriber] stands.
type SubscriberState struct {
	// Owner is true while the subscriber owns the table, false while it stands by or has no subscription.
	Owner bool
	// Database and Transport are the last error of each while it lasts, else nil.
	Database, Transport error
}

var _ message.Subscriber = (*Subscriber)(nil)

// ErrSubscriberClosed is returned by Subscribe after Close.
var ErrSubscriberClosed = errors.New("outbox: the subscriber is closed")

// NewSubscriber checks the configuration, reporting all faults at once, and starts nothing. A nil logger
// logs nothing.
func NewSubscriber(config SubscriberConfig, logger watermill.LoggerAdapter) (*Subscriber, error) {
	config, t, err := config.complete()
	if err != nil {
		return nil, err
	}
	if logger == nil {
		logger = watermill.NopLogger{}
	}
	store, err := NewStore(config.DB, config.Table)
	if err != nil {
		return nil, err
	}
	return &Subscriber{
		config: config, table: t, store: store, logger: logger,
		owner:   &ownership{store: store, name: config.Owner, lease: config.Lease},
		closing: make(chan struct{}), turns: map[string]bool{},
	}, nil
}

// Subscribe delivers the rows of a topic, or of all for [ForwarderTopic], until ctx ends or Close is
// called; the channel is closed then. It fails at once when [Check] finds the table unfit, or when it is
// sharded.
//
// A message's context has ctx's values. It ends once the message is acked or nacked, and CloseTimeout
// after the subscription was told to end, not with ctx itself: what a handler has in hand, it may
// finish.
//
// A topic has one reader: a second subscription of the same topic, or one beside [ForwarderTopic],
// stands by until the first ends.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	if topic == "" {
		return nil, errors.New("outbox: subscribe to what? pass a topic, or outbox.ForwarderTopic for all rows")
	}
	if err := Check(ctx, s.config.DB, s.config.Table); err != nil {
		return nil, err
	}
	if err := refuseShards(ctx, s.config.DB, s.table); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrSubscriberClosed
	}
	s.running.Add(1)
	s.owner.join()
	sub := newSubscription(ctx, s, topic)
	go func() {
		defer s.running.Done()
		defer func() {
			if s.owner.leave() {
				s.note(func(now *SubscriberState) { *now = SubscriberState{} })
			}
		}()
		defer close(sub.out)
		stopping, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			select {
			case <-s.closing:
				cancel()
			case <-stopping.Done():
			}
		}()
		sub.run(stopping)
	}()
	return sub.out, nil
}

// Close ends all subscriptions, waits up to CloseTimeout for the messages that handlers have in hand,
// marks what was acked as processed and gives the table to the next.
func (s *Subscriber) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	s.mu.Unlock()
	s.running.Wait()
	return nil
}

// State returns how the subscriber stands now.
func (s *Subscriber) State() SubscriberState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Drained reports whether every message that a handler had in hand came back before CloseTimeout. What
// did not is delivered again by the next owner.
func (s *Subscriber) Drained() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unfinished == 0
}

func (s *Subscriber) note(change func(*SubscriberState)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.state)
}

// takeTurn reports whether the topic may be read now.
func (s *Subscriber) takeTurn(topic string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turns[topic] || s.turns[ForwarderTopic] || topic == ForwarderTopic && len(s.turns) > 0 {
		return false
	}
	s.turns[topic] = true
	return true
}

func (s *Subscriber) endTurn(topic string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.turns, topic)
}
