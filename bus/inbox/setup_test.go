package inbox_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/inbox"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/envelopes"
)

// patience bounds every wait on a real condition.
const patience = 30 * time.Second

// tick is how often a condition is looked at.
const tick = 5 * time.Millisecond

var errBoom = errors.New("boom")

// bundle is a service's database with an outbox, an inbox and a table of its own.
type bundle struct {
	db  *sql.DB
	dsn string
	bus *bus.Bus
	ctx context.Context
}

func setup(t testing.TB) bundle {
	t.Helper()
	db, dsn := bustest.Postgres(t)
	return prepare(t, db, dsn)
}

func prepare(t testing.TB, db *sql.DB, dsn string) bundle {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	_, err := outbox.Migrate(ctx, db, outbox.MigrateConfig{})
	require.NoError(t, err)
	_, err = inbox.Migrate(ctx, db, inbox.MigrateConfig{})
	require.NoError(t, err)
	b := bundle{db: db, dsn: dsn, ctx: ctx, bus: newBus(t, db)}
	b.exec(t, ownTable)
	return b
}

// ownTable has no key, so that it takes an event twice if it is handled twice.
const ownTable = `CREATE TABLE welcomed (event_id text NOT NULL, by text NOT NULL DEFAULT '')`

func newBus(t testing.TB, db *sql.DB) *bus.Bus {
	t.Helper()
	b, err := bus.New(bus.Config{Service: "mailer", DB: db})
	require.NoError(t, err)
	return b
}

func (b bundle) inbox(t testing.TB, config inbox.Config) *inbox.Inbox {
	t.Helper()
	config.Bus = b.bus
	x, err := inbox.New(config)
	require.NoError(t, err)
	return x
}

func (b bundle) exec(t testing.TB, query string, args ...any) {
	t.Helper()
	_, err := b.db.ExecContext(b.ctx, query, args...)
	require.NoError(t, err)
}

func (b bundle) count(t testing.TB, query string, args ...any) (n int) {
	t.Helper()
	require.NoError(t, b.db.QueryRowContext(b.ctx, query, args...).Scan(&n))
	return n
}

// stays is what the database holds of handled events: the handlers' own rows, the marks, the events
// published.
func (b bundle) stays(t testing.TB) [3]int {
	t.Helper()
	return [3]int{
		b.count(t, `SELECT count(*) FROM welcomed`), b.count(t, `SELECT count(*) FROM event_inbox`), b.count(t, `SELECT count(*) FROM event_outbox`),
	}
}

// welcome writes a row of its own and publishes an event, both in the inbox's transaction.
func (b bundle) welcome(msg *message.Message) error {
	tx, ok := b.bus.SQLTxFrom(msg.Context())
	if !ok {
		return errors.New("no transaction in the context")
	}
	if _, err := tx.ExecContext(msg.Context(), `INSERT INTO welcomed (event_id) VALUES ($1)`, msg.UUID); err != nil {
		return err
	}
	_, err := b.bus.PublishCustom(msg.Context(), envelopes.Custom{Topic: "welcomed", EventType: "welcomed", Payload: msg.UUID})
	return err
}

func newMessage() *message.Message { return message.NewMessage(uuid.NewString(), []byte(`{}`)) }

// again is another delivery of the same record.
func again(msg *message.Message) *message.Message { return msg.Copy() }

// chained puts the middlewares around a handler as a router does.
func chained(handler message.HandlerFunc, chain ...message.HandlerMiddleware) message.HandlerFunc {
	for _, middleware := range slices.Backward(chain) {
		handler = middleware(handler)
	}
	return handler
}

// await receives, or fails the test after patience.
func await[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(patience):
		t.Fatal("nothing arrived within ", patience)
		panic("unreachable")
	}
}
