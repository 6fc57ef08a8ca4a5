package outbox_test

import (
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/outbox"
)

const patience = 20 * time.Second

// subscriber returns one that is tuned for tests.
func (b bundle) subscriber(t testing.TB, change func(*outbox.SubscriberConfig)) *outbox.Subscriber {
	t.Helper()
	config := outbox.SubscriberConfig{
		DB: b.db, PollInterval: 5 * time.Millisecond, RetryMin: 20 * time.Millisecond, RetryMax: 50 * time.Millisecond,
		StandbyPoll: 20 * time.Millisecond, SweepInterval: 200 * time.Millisecond, Lease: 3 * time.Second, CloseTimeout: 5 * time.Second,
	}
	if change != nil {
		change(&config)
	}
	s, err := outbox.NewSubscriber(config, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func (b bundle) subscribe(t testing.TB, s *outbox.Subscriber, topic string) <-chan *message.Message {
	t.Helper()
	messages, err := s.Subscribe(b.ctx, topic)
	require.NoError(t, err)
	return messages
}

func next(t testing.TB, messages <-chan *message.Message) *message.Message {
	t.Helper()
	select {
	case msg, open := <-messages:
		require.True(t, open, "the subscription ended")
		return msg
	case <-time.After(patience):
		require.FailNow(t, "no message came")
		return nil
	}
}

func (b bundle) eventually(t testing.TB, want int64, query string, args ...any) {
	t.Helper()
	require.Eventually(t, func() bool { return scalar[int64](t, b, query, args...) == want }, patience, 5*time.Millisecond, query)
}

// keyed returns n messages of keys k0, k1, …, each with its number as payload.
func keyed(n, keys int) []*message.Message {
	msgs := make([]*message.Message, n)
	for i := range msgs {
		msgs[i] = newMessage(strconv.Itoa(i), delivery.KeyMetadata, fmt.Sprint("k", i%keys))
	}
	return msgs
}

func TestSubscriberDeliversWhatTheWriterWrote(t *testing.T) {
	onBothTables(t, subscriberDeliversWhatTheWriterWrote)
}

func subscriberDeliversWhatTheWriterWrote(t *testing.T, b bundle) {
	one, other := newMessage(`{"a":1}`, delivery.KeyMetadata, "k", "h", "v"), newMessage("not ours")
	require.NoError(t, b.writer(t).Write(b.ctx, nil, []string{"users", "orders"}, []*message.Message{one, other}))
	b.exec(t, `INSERT INTO event_outbox (event_id, topic, payload) VALUES ('plain', 'users', 'sql')`)

	messages := b.subscribe(t, b.subscriber(t, nil), "users")
	got := next(t, messages)
	require.True(t, one.Equals(got), "%v", got)
	require.NoError(t, got.Context().Err())
	got.Ack()
	<-got.Context().Done()
	got = next(t, messages)
	require.Equal(t, "plain", got.UUID)
	require.Equal(t, "sql", string(got.Payload))
	require.Empty(t, got.Metadata)
	got.Ack()
	b.eventually(t, 2, `SELECT count(*) FROM event_outbox WHERE processed_at IS NOT NULL AND topic = 'users'`)
	require.Equal(t, int64(1), scalar[int64](t, b, `SELECT count(*) FROM event_outbox WHERE processed_at IS NULL`))
}

func TestSubscriberRetriesANackedRowAndHoldsItsKey(t *testing.T) {
	onBothTables(t, subscriberRetriesANackedRowAndHoldsItsKey)
}

func subscriberRetriesANackedRowAndHoldsItsKey(t *testing.T, b bundle) {
	msgs := keyed(4, 2) // k0, k1, k0, k1
	require.NoError(t, b.writer(t).Publish("t", msgs...))
	messages := b.subscribe(t, b.subscriber(t, func(c *outbox.SubscriberConfig) { c.RetryMin, c.RetryMax = 200*time.Millisecond, time.Second }), "t")

	first := next(t, messages)
	require.Equal(t, "0", string(first.Payload))
	outbox.NoteFailure(first.Context(), errors.New("the reason"))
	first.Nack()
	var order []string
	for range 4 {
		msg := next(t, messages)
		order = append(order, string(msg.Payload))
		msg.Ack()
	}
	require.Equal(t, []string{"1", "3", "0", "2"}, order, "the other key flows, the row's own waits behind it")
	b.eventually(t, 4, `SELECT count(*) FROM event_outbox WHERE processed_at IS NOT NULL`)
	require.Equal(t, []string{"retry_count=1 error_message=the reason "}, lines(t, b.db, `SELECT retry_count, error_message FROM event_outbox WHERE retry_count > 0`))
}

func TestSubscriberBuriesARowOnlyOnceItsCopyIsSafe(t *testing.T) {
	onBothTables(t, subscriberBuriesARowOnlyOnceItsCopyIsSafe)
}

func subscriberBuriesARowOnlyOnceItsCopyIsSafe(t *testing.T, b bundle) {
	msgs := keyed(2, 1)
	msgs[0].Metadata.Set("h", "v")
	msgs[0].Metadata.Set(deadletter.HeaderReason, "of an earlier death")
	require.NoError(t, b.writer(t).Publish("t", msgs...))
	letters := &flakyPublisher{fails: 2}
	messages := b.subscribe(t, b.subscriber(t, func(c *outbox.SubscriberConfig) {
		c.DeadLetters, c.DeadLetterTopic = letters, "dead"
	}), "t")
	attempts := 0
	for msg := range messages {
		if string(msg.Payload) == "1" {
			require.Len(t, letters.published(), 1, "the key moved before the copy was safe")
			require.Equal(t, int64(3), scalar[int64](t, b, `SELECT retry_count FROM event_outbox WHERE id = 1`), "the key moved before the death was committed")
			msg.Ack()
			break
		}
		attempts++
		outbox.NoteFailure(msg.Context(), errors.New("too bad"))
		msg.Nack()
	}
	require.Equal(t, 5, attempts, "three attempts, and one more for each copy that failed")
	dead := letters.published()[0]
	require.Equal(t, msgs[0].UUID, dead.UUID)
	require.Equal(t, "0", string(dead.Payload))
	require.Regexp(t, `^20\d\d-`, dead.Metadata.Get(deadletter.HeaderLastFailure))
	delete(dead.Metadata, deadletter.HeaderLastFailure)
	require.Equal(t, message.Metadata{
		"h": "v", delivery.KeyMetadata: "k0", deadletter.HeaderKey: "k0", deadletter.HeaderTopic: "t", deadletter.HeaderSource: "outbox",
		deadletter.HeaderReason: "too bad", deadletter.HeaderAttempts: "3", deadletter.HeaderRow: "1",
	}, dead.Metadata)

	// An operator who mended the cause sends it again.
	b.exec(t, `UPDATE event_outbox SET retry_count = 0 WHERE id = 1`)
	again := next(t, messages)
	require.Equal(t, "0", string(again.Payload))
	again.Ack()
	b.eventually(t, 2, `SELECT count(*) FROM event_outbox WHERE processed_at IS NOT NULL`)
}

func TestSubscriberSendsALargeDeadLetterWithoutItsPayload(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.writer(t).Publish("t", newMessage("large")))
	b.exec(t, `UPDATE event_outbox SET max_retries = 1`)
	letters := &flakyPublisher{fails: 1}
	messages := b.subscribe(t, b.subscriber(t, func(c *outbox.SubscriberConfig) { c.DeadLetters, c.DeadLetterTopic = letters, "dead" }), "t")
	letters.refuse = func(msg *message.Message) error {
		if len(msg.Payload) > 0 {
			return errors.New("too large")
		}
		return nil
	}
	letters.fails = 0
	next(t, messages).Nack()
	b.eventually(t, 1, `SELECT count(*) FROM event_outbox WHERE retry_count = 1 AND processed_at IS NULL`)
	require.Equal(t, "5", letters.published()[0].Metadata.Get(deadletter.HeaderOmitted))
}

func TestSubscriberCountsAnUndecodableRow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `INSERT INTO event_outbox (event_id, topic, payload, key, headers) VALUES ('bad', 't', 'x', 'k', '{"a": [1]}'), ('good', 't', 'x', 'k', NULL)`)
	msg := next(t, b.subscribe(t, b.subscriber(t, nil), "t"))
	require.Equal(t, "good", msg.UUID)
	msg.Ack()
	require.Equal(t, int64(3), scalar[int64](t, b, `SELECT retry_count FROM event_outbox WHERE event_id = 'bad'`))
	require.Contains(t, scalar[string](t, b, `SELECT error_message FROM event_outbox WHERE event_id = 'bad'`), "flat JSON object")
}

func TestSubscriberBlamesNoEventForAnOutage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.writer(t).Publish("t", keyed(3, 3)...))
	away := errors.New("the broker is away")
	s := b.subscriber(t, func(c *outbox.SubscriberConfig) {
		c.Fault = func(err error) delivery.Fault {
			if errors.Is(err, away) {
				return delivery.Transport
			}
			return delivery.Refused
		}
	})
	messages := b.subscribe(t, s, "t")
	for range 5 {
		msg := next(t, messages)
		require.Equal(t, "0", string(msg.Payload), "nothing overtakes during an outage")
		require.True(t, s.State().Owner)
		outbox.NoteFailure(msg.Context(), fmt.Errorf("publish: %w", away))
		msg.Nack()
	}
	for range 3 {
		msg := next(t, messages)
		if string(msg.Payload) == "0" {
			require.ErrorIs(t, s.State().Transport, away)
		}
		msg.Ack()
	}
	b.eventually(t, 3, `SELECT count(*) FROM event_outbox WHERE processed_at IS NOT NULL`)
	require.NoError(t, s.State().Transport)
	require.Zero(t, scalar[int64](t, b, `SELECT sum(retry_count) FROM event_outbox`))
}

func TestSubscriberPausesATopicAndLetsOthersFlow(t *testing.T) {
	onBothTables(t, subscriberPausesATopicAndLetsOthersFlow)
}

func subscriberPausesATopicAndLetsOthersFlow(t *testing.T, b bundle) {
	msgs := keyed(20, 20)
	topics := append(same("missing", 10), same("there", 10)...)
	require.NoError(t, b.writer(t).Write(b.ctx, nil, topics, msgs))
	s := b.subscriber(t, func(c *outbox.SubscriberConfig) {
		c.BatchSize = 3
		c.Fault = func(error) delivery.Fault { return delivery.Topic }
	})
	messages := b.subscribe(t, s, outbox.ForwarderTopic)
	next(t, messages).Nack() // The topic of the first ten is missing.
	for i := range 10 {
		msg := next(t, messages)
		require.Contains(t, string(msg.Payload), `"destination_topic":"there"`, i)
		msg.Ack()
	}
	require.Zero(t, scalar[int64](t, b, `SELECT sum(retry_count) FROM event_outbox`), "no event dies of its topic")
	for range 10 { // The probe, and what waits behind it.
		next(t, messages).Ack()
	}
	b.eventually(t, 20, `SELECT count(*) FROM event_outbox WHERE processed_at IS NOT NULL`)
}

func TestSubscriberDeliversLateCommits(t *testing.T) {
	onBothTables(t, subscriberDeliversLateCommits)
}

func subscriberDeliversLateCommits(t *testing.T, b bundle) {
	tx, err := b.db.BeginTx(b.ctx, nil)
	require.NoError(t, err)
	require.NoError(t, b.writer(t).Write(b.ctx, tx, []string{"t"}, []*message.Message{newMessage("late")}))
	require.NoError(t, b.writer(t).Publish("t", newMessage("early")))

	messages := b.subscribe(t, b.subscriber(t, withoutSweep), "t")
	msg := next(t, messages)
	require.Equal(t, "early", string(msg.Payload))
	msg.Ack()
	b.eventually(t, 1, `SELECT count(*) FROM event_outbox WHERE processed_at IS NOT NULL`)
	require.NoError(t, tx.Commit())
	msg = next(t, messages)
	require.Equal(t, "late", string(msg.Payload))
	msg.Ack()
	b.eventually(t, 2, `SELECT count(*) FROM event_outbox WHERE processed_at IS NOT NULL`)
}

// TestSubscriberMakesPartitions, without which its publishers would have to stop.
func TestSubscriberMakesPartitions(t *testing.T) {
	t.Parallel()
	b := partitioned(t)
	b.exec(t, `SELECT setval('event_outbox_id_seq', 8000)`)
	require.ErrorIs(t, b.writer(t).Publish("t", newMessage("too early")), outbox.ErrNoPartition)
	messages := b.subscribe(t, b.subscriber(t, nil), "t")
	require.Eventually(t, func() bool { return b.writer(t).Publish("t", newMessage("in time")) == nil }, patience, 5*time.Millisecond)
	msg := next(t, messages)
	require.Equal(t, "in time", string(msg.Payload))
	msg.Ack()
	b.eventually(t, 1, `SELECT count(*) FROM event_outbox WHERE processed_at IS NOT NULL`)
	require.Positive(t, scalar[int64](t, b, `SELECT count(*) FROM pg_inherits WHERE inhrelid = to_regclass('event_outbox_p15001')`))
}

// withoutSweep leaves nothing but the reader to find a row.
func withoutSweep(c *outbox.SubscriberConfig) { c.SweepInterval = time.Hour }

func TestSubscriberSweepsUpWhatBecamePendingBehindIt(t *testing.T) {
	onBothTables(t, subscriberSweepsUpWhatBecamePendingBehindIt)
}

func subscriberSweepsUpWhatBecamePendingBehindIt(t *testing.T, b bundle) {
	require.NoError(t, b.writer(t).Publish("t", keyed(5, 5)...))
	messages := b.subscribe(t, b.subscriber(t, nil), outbox.ForwarderTopic)
	for range 5 {
		next(t, messages).Ack()
	}
	b.eventually(t, 5, `SELECT low_water FROM event_outbox_forwarder`)
	b.exec(t, `UPDATE event_outbox SET processed_at = NULL WHERE id = 2`)
	next(t, messages).Ack()
	b.eventually(t, 5, `SELECT count(*) FROM event_outbox WHERE processed_at IS NOT NULL`)
}

func TestSubscriberRaisesTheFloorOverWhatIsSettled(t *testing.T) {
	onBothTables(t, subscriberRaisesTheFloorOverWhatIsSettled)
}

func subscriberRaisesTheFloorOverWhatIsSettled(t *testing.T, b bundle) {
	require.NoError(t, b.writer(t).Publish("t", keyed(30, 3)...))
	tx, err := b.db.BeginTx(b.ctx, nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(b.ctx, `SELECT nextval('event_outbox_id_seq')`) // It may still insert id 31.
	require.NoError(t, err)
	require.NoError(t, b.writer(t).Publish("t", newMessage("32")))
	messages := b.subscribe(t, b.subscriber(t, withoutSweep), outbox.ForwarderTopic)
	for range 31 {
		next(t, messages).Ack()
	}
	b.eventually(t, 31, `SELECT count(*) FROM event_outbox WHERE processed_at IS NOT NULL`)
	// The floor is looked at once a second, twice before it rises.
	require.Never(t, func() bool {
		return scalar[int64](t, b, `SELECT low_water FROM event_outbox_forwarder`) > 30
	}, 3*time.Second, 50*time.Millisecond, "a transaction that may still write id 31 is open")
	_, err = tx.ExecContext(b.ctx, `INSERT INTO event_outbox (id, event_id, topic, payload) VALUES (31, 'late', 't', 'late')`)
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	msg := next(t, messages)
	require.Contains(t, string(msg.Payload), "late")
	msg.Ack()
	b.eventually(t, 32, `SELECT low_water FROM event_outbox_forwarder`)
}

func TestSubscriberKeepsOrderWithinAKeyUnderFailures(t *testing.T) {
	onBothTables(t, subscriberKeepsOrderWithinAKeyUnderFailures)
}

func subscriberKeepsOrderWithinAKeyUnderFailures(t *testing.T, b bundle) {
	const events, keys = 400, 20
	b.exec(t, `ALTER TABLE event_outbox ALTER max_retries SET DEFAULT 100`)
	require.NoError(t, b.writer(t).Publish("t", keyed(events, keys)...))
	messages := b.subscribe(t, b.subscriber(t, func(c *outbox.SubscriberConfig) { c.RetryMin, c.BatchSize = 5*time.Millisecond, 17 }), "t")
	last, acked := map[string]int{}, 0
	for n := 0; acked < events; n++ {
		msg := next(t, messages)
		if n%7 == 3 {
			msg.Nack()
			continue
		}
		number, err := strconv.Atoi(string(msg.Payload))
		require.NoError(t, err)
		key := msg.Metadata.Get(delivery.KeyMetadata)
		if before, seen := last[key]; seen {
			require.Equal(t, before+keys, number, "key %s", key)
		}
		last[key] = number
		msg.Ack()
		acked++
	}
}

func TestSubscribeRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	b := empty(t)
	_, err := b.subscriber(t, nil).Subscribe(b.ctx, "t")
	require.ErrorIs(t, err, outbox.ErrNoTable)
	require.ErrorContains(t, err, "tailrace migrate")
	_, err = b.subscriber(t, nil).Subscribe(b.ctx, "")
	require.ErrorContains(t, err, "ForwarderTopic")

	_, err = outbox.NewSubscriber(outbox.SubscriberConfig{
		Table: "1", BatchSize: -1, PollInterval: -1, RetryMin: time.Hour, Lease: time.Millisecond, DeadLetterTopic: "d",
	}, nil)
	for _, says := range []string{"DB is nil", "table part", "BatchSize", "PollInterval", "RetryMin", "Lease", "DeadLetters"} {
		require.ErrorContains(t, err, says)
	}
	one, err := sql.Open("postgres", b.dsn)
	require.NoError(t, err)
	defer func() { require.NoError(t, one.Close()) }()
	one.SetMaxOpenConns(1)
	_, err = outbox.NewSubscriber(outbox.SubscriberConfig{DB: one}, nil)
	require.ErrorContains(t, err, "allow 2")
}

// flakyPublisher records what it publishes, after failing some times.
type flakyPublisher struct {
	fails  int64
	refuse func(*message.Message) error
	calls  atomic.Int64
	mu     sync.Mutex
	msgs   []*message.Message
}

func (p *flakyPublisher) Publish(topic string, msgs ...*message.Message) error {
	if p.refuse != nil {
		for _, msg := range msgs {
			if err := p.refuse(msg); err != nil {
				return err
			}
		}
	}
	// The copy with and the one without payload fail together.
	if p.refuse == nil && p.calls.Add(1) <= 2*p.fails {
		return errors.New("the dead-letter topic is missing")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.msgs = append(p.msgs, msgs...)
	return nil
}

func (p *flakyPublisher) Close() error { return nil }

func (p *flakyPublisher) published() []*message.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.msgs
}
