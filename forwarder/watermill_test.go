package forwarder_test

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder"
)

// engine returns a WatermillEngine that is tuned for tests, over bus/kafka's publisher.
func (b *testBundle) engine(change func(*forwarder.WatermillConfig)) *forwarder.WatermillEngine {
	b.t.Helper()
	publisher, err := kafka.NewPublisher(kafka.PublisherConfig{
		Sender:  kafka.SenderConfig{Config: kafka.Config{Brokers: b.broker.Brokers(), RequestTimeout: 2 * time.Second}},
		Timeout: time.Second,
	})
	require.NoError(b.t, err)
	b.t.Cleanup(func() { require.NoError(b.t, publisher.Close()) })
	config := forwarder.WatermillConfig{
		DB: b.db, Publisher: publisher, DeadLetterTopic: "dead", RetryMin: 50 * time.Millisecond, Lease: 3 * time.Second,
		SweepInterval: 500 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(testLog{b.t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if change != nil {
		change(&config)
	}
	e, err := forwarder.NewWatermillEngine(config)
	require.NoError(b.t, err)
	return e
}

func (b *testBundle) runEngine(e *forwarder.WatermillEngine) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			require.NoError(b.t, err)
		case <-time.After(patience):
			b.t.Error("the engine did not stop")
		}
	}
	b.t.Cleanup(stop)
	return stop
}

func TestWatermillEngineForwardsInOrderAcrossACleanStop(t *testing.T) {
	onBothTables(t, watermillEngineForwardsInOrderAcrossACleanStop)
}

func watermillEngineForwardsInOrderAcrossACleanStop(t *testing.T, b *testBundle) {
	b.broker.CreateTopic(t, "a", 3, nil)
	b.broker.CreateTopic(t, "b", 1, nil)
	b.insert("a", 400, 10)
	b.insert("b", 100, 0)
	var handled atomic.Int64
	counting := func(h message.HandlerFunc) message.HandlerFunc {
		return func(msg *message.Message) ([]*message.Message, error) {
			handled.Add(1)
			return h(msg)
		}
	}
	withMiddleware := func(c *forwarder.WatermillConfig) { c.Middlewares = []message.HandlerMiddleware{counting} }
	stop := b.runEngine(b.engine(withMiddleware))
	b.broker.WaitRecords(t, "a", 50, patience)
	stop()
	e := b.engine(withMiddleware)
	stop = b.runEngine(e)
	require.Eventually(t, func() bool { return b.pending() == 0 }, patience, 10*time.Millisecond)
	require.Equal(t, forwarder.Owner, e.Status().State)
	require.NoError(t, e.Status().Ready())
	stop()
	require.Equal(t, forwarder.Stopped, e.Status().State)
	require.Equal(t, tally{records: 400, distinct: 400}, count(t, b.broker.Records(t, "a")))
	require.Equal(t, tally{records: 100, distinct: 100}, count(t, b.broker.Records(t, "b")))
	require.Equal(t, int64(500), handled.Load(), "every middleware sees every event")
}

func TestWatermillEngineAndForwarderTakeTurns(t *testing.T) {
	onBothTables(t, watermillEngineAndForwarderTakeTurns)
}

func watermillEngineAndForwarderTakeTurns(t *testing.T, b *testBundle) {
	b.broker.CreateTopic(t, "a", 1, nil)
	e := b.engine(nil)
	stop := b.runEngine(e)
	require.Eventually(t, func() bool { return e.Status().State == forwarder.Owner }, patience, 5*time.Millisecond)
	f := b.forwarder(nil)
	b.run(f)
	require.Eventually(t, func() bool { return f.Status().State == forwarder.Standby }, patience, 5*time.Millisecond)
	b.insert("a", 10, 1)
	require.Eventually(t, func() bool { return b.pending() == 0 }, patience, 5*time.Millisecond)
	require.Equal(t, forwarder.Standby, f.Status().State)
	stop()
	require.Eventually(t, func() bool { return f.Status().State == forwarder.Owner }, patience, 5*time.Millisecond)
	b.insertFrom("a", 10, 10, 1)
	require.Equal(t, tally{records: 20, distinct: 20}, count(t, b.broker.WaitRecords(t, "a", 20, patience)))
}

func TestWatermillEngineBuriesWhatTheBrokerRefuses(t *testing.T) {
	onBothTables(t, watermillEngineBuriesWhatTheBrokerRefuses)
}

func watermillEngineBuriesWhatTheBrokerRefuses(t *testing.T, b *testBundle) {
	b.broker.CreateTopic(t, "a", 1, map[string]string{"max.message.bytes": "2000"})
	b.broker.CreateTopic(t, "dead", 1, nil)
	b.exec(`INSERT INTO event_outbox (event_id, topic, payload, key) VALUES ('big', 'a', convert_to(repeat('x', 20000), 'UTF8'), 'k')`)
	b.exec(`INSERT INTO event_outbox (event_id, topic, payload, key) VALUES ('behind', 'a', '1', 'k'), ('beside', 'a', '2', 'other')`)
	b.runEngine(b.engine(nil))
	records := b.broker.WaitRecords(t, "a", 2, patience)
	require.Equal(t, "2", string(records[0].Value), "another key flows meanwhile")
	require.Equal(t, "1", string(records[1].Value), "the key flows again")
	dead := b.broker.WaitRecords(t, "dead", 1, patience)[0]
	id, _ := dead.Header("_watermill_message_uuid")
	require.Equal(t, "big", id)
	reason, _ := dead.Header(deadletter.HeaderReason)
	require.NotEmpty(t, reason)
	var retries int
	require.NoError(t, b.db.QueryRowContext(t.Context(), `SELECT retry_count FROM event_outbox WHERE event_id = 'big' AND processed_at IS NULL`).Scan(&retries))
	require.Equal(t, 3, retries)
}

func TestWatermillEngineBlamesNoEventForABrokerThatIsAway(t *testing.T) {
	onBothTables(t, watermillEngineBlamesNoEventForABrokerThatIsAway)
}

func watermillEngineBlamesNoEventForABrokerThatIsAway(t *testing.T, b *testBundle) {
	b.broker.CreateTopic(t, "a", 1, nil)
	b.broker.Stop()
	b.insert("a", 20, 2)
	e := b.engine(nil)
	b.runEngine(e)
	require.Eventually(t, func() bool { return e.Status().Broker != nil }, patience, 10*time.Millisecond)
	require.ErrorContains(t, e.Status().Ready(), "broker is away")
	b.broker.Restart(t)
	require.Eventually(t, func() bool { return b.pending() == 0 }, patience, 10*time.Millisecond)
	tallied := count(t, b.broker.Records(t, "a"))
	require.Equal(t, 20, tallied.distinct)
	require.Zero(t, tallied.reordered)
	var blamed int
	require.NoError(t, b.db.QueryRowContext(t.Context(), `SELECT count(*) FROM event_outbox WHERE retry_count > 0`).Scan(&blamed))
	require.Zero(t, blamed)
}

func TestWatermillEngineLetsTheEventInHandFinish(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.insert("a", 2000, 1)
	p := &slowPublisher{entered: make(chan struct{}), leave: make(chan struct{})}
	for name, hang := range map[string]bool{"it finishes": false, "it hangs": true} {
		limit := patience
		if hang {
			limit = 300 * time.Millisecond
		}
		e := b.engine(func(c *forwarder.WatermillConfig) { c.Publisher, c.DrainTimeout = p, limit })
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		<-p.entered
		before := b.pending()
		cancel()
		if hang {
			require.ErrorContains(t, <-done, "not finished", name)
			require.Equal(t, before, b.pending(), name)
			continue
		}
		// One more event may have been taken before the stop was noticed.
		for stopped := false; !stopped; {
			select {
			case p.leave <- struct{}{}:
			case <-p.entered:
			case err := <-done:
				require.NoError(t, err, name)
				stopped = true
			}
		}
		require.Less(t, b.pending(), before, name)
	}
}

// slowPublisher publishes when it is let, or when its message's context ends.
type slowPublisher struct{ entered, leave chan struct{} }

func (p *slowPublisher) Publish(_ string, msgs ...*message.Message) error {
	p.entered <- struct{}{}
	select {
	case <-p.leave:
		return nil
	case <-msgs[0].Context().Done():
		return msgs[0].Context().Err()
	}
}

func (p *slowPublisher) Close() error { return nil }

func TestWatermillEngineSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	_, err := forwarder.NewWatermillEngine(forwarder.WatermillConfig{DeadLetterTopic: "a b", RetryMin: -1, DrainTimeout: -1})
	for _, says := range []string{"DB is nil", "Publisher is nil", "DeadLetterTopic", "RetryMin", "DrainTimeout"} {
		require.ErrorContains(t, err, says)
	}
	require.Equal(t, 1, strings.Count(err.Error(), "Publisher is nil"))

	db, _ := bustest.Postgres(t)
	e, err := forwarder.NewWatermillEngine(forwarder.WatermillConfig{DB: db, Publisher: bustest.NewRecorder()})
	require.NoError(t, err)
	err = e.Run(t.Context())
	require.ErrorIs(t, err, outbox.ErrNoTable)
	require.ErrorContains(t, err, "tailrace migrate")
	require.NotErrorIs(t, err, forwarder.ErrRunning)
}
