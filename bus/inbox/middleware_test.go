package inbox_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/inbox"
	"github.com/tailrace-go/tailrace/envelopes"
)

func TestAnEventIsHandledOnceForEachConsumer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	registry := prometheus.NewRegistry()
	x := b.inbox(t, inbox.Config{Metrics: registry})
	mailer, auditor := x.Once("mailer", b.welcome), x.Once("auditor", b.welcome)
	msg := newMessage()
	require.NoError(t, mailer(msg))
	require.NoError(t, mailer(again(msg)), "a duplicate may be acked")
	require.Equal(t, [3]int{1, 1, 1}, b.stays(t))
	require.NoError(t, auditor(again(msg)))
	require.NoError(t, mailer(newMessage()))
	require.Equal(t, [3]int{3, 3, 3}, b.stays(t))
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP tailrace_inbox_duplicates_total Deliveries of events that the consumer had handled before, and that were skipped.
# TYPE tailrace_inbox_duplicates_total counter
tailrace_inbox_duplicates_total{consumer="auditor",inbox="event_inbox"} 0
tailrace_inbox_duplicates_total{consumer="mailer",inbox="event_inbox"} 1
`), "tailrace_inbox_duplicates_total"))
}

// The chain's own metrics tell a duplicate from an event that was handled.
func TestTheChainKnowsADuplicate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	registry := prometheus.NewRegistry()
	chain, err := consumer.Chain(consumer.Config{Metrics: registry, DeadLetter: consumer.DeadLetterConfig{Publisher: nothing{}}})
	require.NoError(t, err)
	handler := chained(func(msg *message.Message) ([]*message.Message, error) { return nil, b.welcome(msg) },
		append(chain, b.inbox(t, inbox.Config{}).Middleware("mailer"))...)
	msg := newMessage()
	for range 3 {
		_, err := handler(again(msg))
		require.NoError(t, err)
	}
	counts := map[string]float64{}
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if family.GetName() == "tailrace_consumer_messages_total" && label.GetName() == "outcome" && metric.GetCounter().GetValue() > 0 {
					counts[label.GetValue()] = metric.GetCounter().GetValue()
				}
			}
		}
	}
	require.Equal(t, map[string]float64{"handled": 1, "duplicate": 2}, counts)
}

// What fails leaves nothing: no row, no mark, no event. The next attempt starts afresh.
func TestAFailedHandlerLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(ctx context.Context, tx *sql.Tx) error{
		"error":     func(context.Context, *sql.Tx) error { return errBoom },
		"permanent": func(context.Context, *sql.Tx) error { return consumer.Permanent(errBoom) },
		"outage":    func(context.Context, *sql.Tx) error { return consumer.Outage(errBoom) },
		"SQL error": func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `SELECT 1/0`)
			return errors.Join(errBoom, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			x := b.inbox(t, inbox.Config{})
			var want error
			failing := x.Once("mailer", func(msg *message.Message) error {
				require.NoError(t, b.welcome(msg))
				tx, _ := b.bus.SQLTxFrom(msg.Context())
				want = fail(msg.Context(), tx)
				return want
			})
			msg := newMessage()
			err := failing(msg)
			require.Equal(t, want, err, "as it is")
			_, still := b.bus.TxFrom(msg.Context())
			require.False(t, still, "the transaction leaves the message's context")
			require.Equal(t, [3]int{}, b.stays(t))
			require.NoError(t, x.Once("mailer", b.welcome)(msg))
			require.Equal(t, [3]int{1, 1, 1}, b.stays(t))
		})
	}
}

func TestAPanicRollsBackAndGoesOn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	x := b.inbox(t, inbox.Config{})
	handler := chained(func(msg *message.Message) ([]*message.Message, error) {
		require.NoError(t, b.welcome(msg))
		panic("out of reach")
	}, consumer.Recoverer, x.Middleware("mailer"))
	msg := newMessage()
	_, err := handler(msg)
	var panicked *consumer.PanicError
	require.ErrorAs(t, err, &panicked)
	require.Equal(t, [3]int{}, b.stays(t))
	_, still := b.bus.TxFrom(msg.Context())
	require.False(t, still)
}

func TestReturnedMessagesComeAfterTheCommit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	handler := b.inbox(t, inbox.Config{}).Middleware("mailer")(func(*message.Message) ([]*message.Message, error) {
		return []*message.Message{newMessage()}, nil
	})
	msg := newMessage()
	produced, err := handler(msg)
	require.NoError(t, err)
	require.Len(t, produced, 1)
	require.Equal(t, 1, b.count(t, `SELECT count(*) FROM event_inbox`))
	produced, err = handler(again(msg))
	require.NoError(t, err)
	require.Empty(t, produced)
}

func TestAMessageWithoutAUsableIDIsPermanent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	once := b.inbox(t, inbox.Config{}).Once("mailer", func(*message.Message) error { panic("not to be called") })
	for name, c := range map[string]struct{ id, says string }{
		"none": {"", "is empty"}, "not UTF-8": {"\xff", "UTF-8"}, "NUL": {"a\x00b", "NUL"}, "too long": {strings.Repeat("ü", 256), "256 characters"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := once(message.NewMessage(c.id, nil))
			require.ErrorIs(t, err, inbox.ErrNoID)
			require.ErrorIs(t, err, consumer.ErrPermanent)
			require.ErrorContains(t, err, c.says)
		})
	}
}

// Whatever the characters, an id is stored as it is and known again, in the statement or beside it.
func TestIDsAreKnownAgainAsTheyAre(t *testing.T) {
	t.Parallel()
	b := setup(t)
	x := b.inbox(t, inbox.Config{})
	for _, name := range []string{"mailer", `m'a"i\ler`} {
		handled := 0
		once := x.Once(name, func(*message.Message) error { handled++; return nil })
		ids := []string{
			"0190b5c2-7d3e-7a41-9c55-2f6d0e8b1a03", "a", "A", "a ", "'", `\`, `\'`, `'); DROP TABLE event_inbox; --`, "$1", "é", "e\u0301", "urn:x:1",
			strings.Repeat("ü", 255),
		}
		for i, id := range ids {
			for range 2 {
				require.NoError(t, once(message.NewMessage(id, nil)), id)
			}
			require.Equal(t, i+1, handled, id)
			require.Equal(t, 1, b.count(t, `SELECT count(*) FROM event_inbox WHERE consumer = $1 AND event_id = $2`, name, id))
		}
	}
}

// One rule says what an event's id is, here and for causation: the envelope's own comes first.
func TestTheEnvelopesIDComesFirst(t *testing.T) {
	t.Parallel()
	b := setup(t)
	once := b.inbox(t, inbox.Config{}).Once("mailer", func(*message.Message) error { return nil })
	_, err := b.bus.PublishCustom(b.ctx, envelopes.Custom{Metadata: envelopes.Metadata{EventID: "the-event"}, Topic: "t", EventType: "x"})
	require.NoError(t, err)
	var payload []byte
	require.NoError(t, b.db.QueryRowContext(b.ctx, `SELECT payload FROM event_outbox`).Scan(&payload))
	for range 2 { // under another UUID each time, as when an event is published twice
		msg := newMessage()
		msg.Payload = payload
		require.NoError(t, once(msg))
	}
	require.Equal(t, 1, b.count(t, `SELECT count(*) FROM event_inbox WHERE event_id = 'the-event'`))
	require.Equal(t, 1, b.count(t, `SELECT count(*) FROM event_inbox`))
}

func TestAHandlerThatEndsTheTransactionIsTold(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*sql.Tx) error{"commits": (*sql.Tx).Commit, "rolls back": (*sql.Tx).Rollback} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			err := b.inbox(t, inbox.Config{}).Once("mailer", func(msg *message.Message) error {
				tx, _ := b.bus.SQLTxFrom(msg.Context())
				return end(tx)
			})(newMessage())
			require.ErrorIs(t, err, inbox.ErrEnded)
			require.NotErrorIs(t, err, consumer.ErrOutage, "it would be kept for ever")
		})
	}
}

// A handler that swallows the error of its SQL has nothing to commit, which is its own fault.
func TestASwallowedSQLErrorIsTheHandlers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `CREATE TABLE deferred (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)`)
	for name, statement := range map[string]string{
		"failed statement": `SELECT 1/0`, "deferred constraint": `INSERT INTO deferred VALUES (1), (1)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := b.inbox(t, inbox.Config{}).Once(name, func(msg *message.Message) error {
				tx, _ := b.bus.SQLTxFrom(msg.Context())
				_, _ = tx.ExecContext(msg.Context(), statement)
				return nil
			})(newMessage())
			require.Error(t, err)
			require.NotErrorIs(t, err, consumer.ErrOutage)
			require.Zero(t, b.count(t, `SELECT count(*) FROM event_inbox WHERE consumer = $1`, name))
		})
	}
}

// Within a transaction that somebody else began, the mark is as good as that one.
func TestItJoinsTheContextsTransaction(t *testing.T) {
	t.Parallel()
	b := setup(t)
	once := b.inbox(t, inbox.Config{}).Once("mailer", b.welcome)
	msg := newMessage()
	err := b.bus.Transact(b.ctx, func(ctx context.Context, _ *sql.Tx) error {
		joined := again(msg)
		joined.SetContext(ctx)
		require.NoError(t, once(joined))
		return errBoom
	})
	require.ErrorIs(t, err, errBoom)
	require.Equal(t, [3]int{}, b.stays(t))
}

// TestReturnedMessagesCanBePublished by the router, to the Bus that has the transaction, after its commit.
func TestReturnedMessagesCanBePublished(t *testing.T) {
	t.Parallel()
	b := setup(t)
	once := b.inbox(t, inbox.Config{}).Middleware("greeter")
	handle := once(func(msg *message.Message) ([]*message.Message, error) {
		_, out, err := b.bus.Message(msg.Context(), envelopes.Custom{Topic: "t", EventType: "greeting"})
		return []*message.Message{out}, err
	})
	produced, err := handle(newMessage())
	require.NoError(t, err)
	require.NoError(t, b.bus.Publisher().Publish("t", produced...))

	require.ErrorIs(t, b.bus.Transact(b.ctx, func(ctx context.Context, _ *sql.Tx) error {
		joined := newMessage()
		joined.SetContext(ctx)
		produced, err := handle(joined)
		require.NoError(t, err)
		require.NoError(t, b.bus.Publisher().Publish("t", produced...))
		return errBoom
	}), errBoom)
	require.Equal(t, 1, b.stays(t)[2], "what joined a transaction is rolled back with it")
}

// What fails within somebody else's transaction leaves nothing there, even when that one is committed: a
// mark that stayed would make the event's next delivery a duplicate of one that was never handled.
func TestAFailedHandlerLeavesNothingInATransactionThatItJoined(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(ctx context.Context, tx *sql.Tx) error{
		"error": func(context.Context, *sql.Tx) error { return errBoom },
		"panic": func(context.Context, *sql.Tx) error { panic(errBoom) },
		"SQL error": func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `SELECT 1/0`)
			return err
		},
		"swallowed SQL error": func(ctx context.Context, tx *sql.Tx) error {
			_, _ = tx.ExecContext(ctx, `SELECT 1/0`)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			x := b.inbox(t, inbox.Config{})
			failures := 1
			handler := chained(func(msg *message.Message) ([]*message.Message, error) {
				if err := b.welcome(msg); err != nil {
					return nil, err
				}
				tx, _ := b.bus.SQLTxFrom(msg.Context())
				if failures--; failures >= 0 {
					return nil, fail(msg.Context(), tx)
				}
				return nil, nil
			}, consumer.Recoverer, x.Middleware("mailer"))
			msg := newMessage()
			require.NoError(t, b.bus.Transact(b.ctx, func(ctx context.Context, _ *sql.Tx) error {
				msg.SetContext(ctx)
				_, err := handler(msg)
				require.Error(t, err)
				return nil
			}))
			require.Equal(t, [3]int{}, b.stays(t))
			require.NoError(t, b.bus.Transact(b.ctx, func(ctx context.Context, _ *sql.Tx) error {
				for range 2 {
					msg.SetContext(ctx)
					_, err := handler(msg)
					require.NoError(t, err)
				}
				return nil
			}))
			require.Equal(t, [3]int{1, 1, 1}, b.stays(t))
		})
	}
}

func TestNewReportsAllMistakesAtOnce(t *testing.T) {
	t.Parallel()
	_, err := inbox.New(inbox.Config{Table: "a.b.c", Retention: 1, PurgeInterval: -1})
	require.ErrorIs(t, err, inbox.ErrConfig)
	for _, part := range []string{"Bus", "Table", "Retention", "PurgeInterval"} {
		require.ErrorContains(t, err, part)
	}
	direct, err := bus.New(bus.Config{Service: "s", Publisher: nothing{}})
	require.NoError(t, err)
	_, err = inbox.New(inbox.Config{Bus: direct})
	require.ErrorIs(t, err, bus.ErrNoOutbox)

	b := setup(t)
	tx, err := b.db.BeginTx(b.ctx, nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	_, err = inbox.New(inbox.Config{Bus: b.bus.InTx(tx)})
	require.ErrorContains(t, err, "InTx")

	registry := prometheus.NewRegistry()
	x := b.inbox(t, inbox.Config{Metrics: registry})
	b.inbox(t, inbox.Config{Metrics: registry}) // another service's, on the same table: they count together
	taken := prometheus.NewRegistry()
	taken.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "tailrace_inbox_purged_rows_total", Help: "somebody else's"}))
	_, err = inbox.New(inbox.Config{Bus: b.bus, Metrics: taken})
	require.ErrorContains(t, err, "Registerer of its own")
	for _, name := range []string{"", strings.Repeat("x", 256), "\x00"} {
		require.Panics(t, func() { x.Middleware(name) })
	}
}

type nothing struct{}

func (nothing) Publish(string, ...*message.Message) error { return nil }
func (nothing) Close() error                              { return nil }
