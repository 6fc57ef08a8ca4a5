package bus_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/topics"
)

// database is a Bus over a fresh database.
type database struct {
	*bus.Bus
	db     *sql.DB
	ctx    context.Context
	commit atomic.Int32
}

func overPostgres(t testing.TB) *database {
	t.Helper()
	db, _ := bustest.Postgres(t)
	return overDB(t, db)
}

func overDB(t testing.TB, db *sql.DB) *database {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	_, err := outbox.Migrate(ctx, db, outbox.MigrateConfig{})
	require.NoError(t, err)
	d := &database{db: db, ctx: ctx}
	d.Bus, err = bus.New(bus.Config{
		Service: "user-service", Topics: topics.Naming{Prefix: "marty"}, DB: db, OnCommit: func() { d.commit.Add(1) },
	})
	require.NoError(t, err)
	return d
}

func (d *database) begin(t testing.TB) *sql.Tx {
	t.Helper()
	tx, err := d.db.BeginTx(d.ctx, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback() })
	return tx
}

// ids are the event ids in the table, in the order written.
func (d *database) ids(t testing.TB) []string {
	t.Helper()
	var ids []string
	require.NoError(t, d.db.QueryRowContext(d.ctx, `SELECT array_agg(event_id ORDER BY id) FROM event_outbox`).Scan((*pq.StringArray)(&ids)))
	return ids
}

func TestTheRowOfAnEvent(t *testing.T) {
	t.Parallel()
	d := overPostgres(t)
	id, err := d.PublishDomain(bus.WithMetadata(d.ctx, bus.Metadata{CorrelationID: "req-7"}), userCreated("u-1"))
	require.NoError(t, err)
	var eventID, topic, headers string
	var payload, key []byte
	require.NoError(t, d.db.QueryRowContext(d.ctx, `SELECT event_id, topic, payload, key, headers FROM event_outbox`).Scan(&eventID, &topic, &payload, &key, &headers))
	require.Equal(t, id, eventID)
	require.Equal(t, "marty.user-service.user.user_created", topic)
	require.Equal(t, "u-1", string(key))
	require.Contains(t, headers, `"ce_subject":"u-1"`)
	require.Contains(t, headers, `"correlation_id":"req-7"`)
	require.NotContains(t, headers, "record_key")
	envelope, err := envelopes.Decode(payload)
	require.NoError(t, err)
	require.Equal(t, id, envelope.Metadata.EventID)

	_, err = d.PublishAudit(d.ctx, loggedIn())
	require.NoError(t, err)
	require.NoError(t, d.db.QueryRowContext(d.ctx, `SELECT key FROM event_outbox WHERE topic = 'marty.audit.events'`).Scan(&key))
	require.Nil(t, key, "no key is NULL")
	require.EqualValues(t, 2, d.commit.Load(), "each of its own wakes the forwarder")
}

// transactional is each way to publish in a transaction.
var transactional = map[string]func(*database, *sql.Tx) error{
	"InTx": func(d *database, tx *sql.Tx) error {
		_, err := d.InTx(tx).PublishDomain(d.ctx, userCreated("u"))
		return err
	},
	"WithTx": func(d *database, tx *sql.Tx) error {
		_, err := d.PublishDomain(d.WithTx(d.ctx, tx), userCreated("u"))
		return err
	},
	"PublishAll": func(d *database, tx *sql.Tx) error {
		_, err := d.InTx(tx).PublishAll(d.ctx, userCreated("u"), loggedIn(), welcome("u"))
		return err
	},
	"a publisher of one kind": func(d *database, tx *sql.Tx) error {
		_, err := d.Audit().InTx(tx).Publish(d.ctx, loggedIn())
		return err
	},
	"Transact within": func(d *database, tx *sql.Tx) error {
		return d.Transact(d.WithTx(d.ctx, tx), func(ctx context.Context, inner *sql.Tx) error {
			if inner != tx {
				return errors.New("Transact did not join the transaction of the context")
			}
			_, err := d.PublishDomain(ctx, userCreated("u"))
			return err
		})
	},
}

func TestRolledBackPublishesNothingCommittedPublishesAll(t *testing.T) {
	t.Parallel()
	for how, publish := range transactional {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			d := overPostgres(t)
			tx := d.begin(t)
			require.NoError(t, publish(d, tx))
			require.NoError(t, tx.Rollback())
			require.Empty(t, d.ids(t))

			tx = d.begin(t)
			require.NoError(t, publish(d, tx))
			require.Empty(t, d.ids(t), "not before the commit")
			require.NoError(t, tx.Commit())
			require.NotEmpty(t, d.ids(t))
			require.Zero(t, d.commit.Load(), "the commit was not the bus's")
		})
	}
}

func TestAnEndedTransactionIsAnError(t *testing.T) {
	t.Parallel()
	d := overPostgres(t)
	for how, publish := range transactional {
		for what, end := range map[string]func(*sql.Tx) error{"committed": (*sql.Tx).Commit, "rolled back": (*sql.Tx).Rollback} {
			tx := d.begin(t)
			require.NoError(t, end(tx))
			err := publish(d, tx)
			require.ErrorIs(t, err, sql.ErrTxDone, "%s, %s", how, what)
			require.ErrorContains(t, err, "bus: the transaction has ended: publish before it is committed or rolled back")
		}
	}
	ctx, cancel := context.WithCancel(d.ctx)
	tx, err := d.db.BeginTx(ctx, nil)
	require.NoError(t, err)
	cancel()
	require.Eventually(t, func() bool { return errors.Is(transactional["InTx"](d, tx), sql.ErrTxDone) }, 10*time.Second, time.Millisecond,
		"its context's end ended it")
	require.Empty(t, d.ids(t))
}

func TestTransact(t *testing.T) {
	t.Parallel()
	publish := func(d *database) func(context.Context, *sql.Tx) error {
		return func(ctx context.Context, tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, `INSERT INTO users VALUES ('u')`); err != nil {
				return err
			}
			_, err := d.PublishAll(ctx, userCreated("u"), loggedIn())
			return err
		}
	}
	users := func(t *testing.T, d *database) (n int) {
		require.NoError(t, d.db.QueryRowContext(d.ctx, `SELECT count(*) FROM users`).Scan(&n))
		return n
	}
	setup := func(t *testing.T) *database {
		t.Parallel()
		d := overPostgres(t)
		_, err := d.db.ExecContext(d.ctx, `CREATE TABLE users (id text)`)
		require.NoError(t, err)
		return d
	}
	t.Run("commits", func(t *testing.T) {
		d := setup(t)
		require.NoError(t, d.Transact(d.ctx, publish(d)))
		require.Len(t, d.ids(t), 2)
		require.Equal(t, 1, users(t, d))
		require.EqualValues(t, 1, d.commit.Load(), "two events, one wake-up")
	})
	t.Run("rolls back on an error, returned as it is", func(t *testing.T) {
		d := setup(t)
		failed := errors.New("failed")
		require.Equal(t, failed, d.Transact(d.ctx, func(ctx context.Context, tx *sql.Tx) error {
			require.NoError(t, publish(d)(ctx, tx))
			return failed
		}))
		require.Empty(t, d.ids(t))
		require.Zero(t, users(t, d))
		require.Zero(t, d.commit.Load())
	})
	t.Run("rolls back on a panic", func(t *testing.T) {
		d := setup(t)
		require.PanicsWithValue(t, "oh", func() {
			_ = d.Transact(d.ctx, func(ctx context.Context, tx *sql.Tx) error {
				if err := publish(d)(ctx, tx); err != nil {
					return err
				}
				panic("oh")
			})
		})
		require.Empty(t, d.ids(t))
		require.Zero(t, d.db.Stats().InUse, "its connection is back in the pool")
	})
	t.Run("a swallowed failure does not commit", func(t *testing.T) {
		d := setup(t)
		err := d.Transact(d.ctx, func(ctx context.Context, tx *sql.Tx) error {
			_, _ = tx.ExecContext(ctx, `INSERT INTO nowhere VALUES (1)`)
			return nil
		})
		require.ErrorContains(t, err, "bus: commit the transaction")
		require.Zero(t, d.commit.Load())
	})
	t.Run("the context is of no use afterwards", func(t *testing.T) {
		d := setup(t)
		leaked := make(chan context.Context, 1)
		require.NoError(t, d.Transact(d.ctx, func(ctx context.Context, _ *sql.Tx) error {
			leaked <- ctx
			return nil
		}))
		_, err := d.PublishAudit(<-leaked, loggedIn())
		require.ErrorIs(t, err, sql.ErrTxDone)
	})
}

func TestTwoBusesInOneContextAreNotMixed(t *testing.T) {
	t.Parallel()
	a, b := overPostgres(t), overPostgres(t)
	ctx := b.WithTx(a.WithTx(a.ctx, a.begin(t)), b.begin(t))
	_, err := a.PublishAudit(ctx, loggedIn())
	require.NoError(t, err)
	idB, err := b.PublishAudit(ctx, loggedIn())
	require.NoError(t, err)
	txA, _ := a.TxFrom(ctx)
	txB, _ := b.TxFrom(ctx)
	require.NoError(t, txA.Rollback())
	require.NoError(t, txB.Commit())
	require.Empty(t, a.ids(t))
	require.Equal(t, []string{idB}, b.ids(t))

	_, found := b.TxFrom(a.WithTx(a.ctx, txA))
	require.False(t, found, "a bus does not see another's transaction")
	derived := a.InTx(txA)
	_, found = derived.TxFrom(a.WithTx(a.ctx, txA))
	require.True(t, found, "a derived copy is the same bus")
}

func TestADuplicateIDIsATypedError(t *testing.T) {
	t.Parallel()
	d := overPostgres(t)
	event := userCreated("u")
	event.Metadata.EventID = "e-1"
	_, err := d.PublishDomain(d.ctx, event)
	require.NoError(t, err)

	err = d.Transact(d.ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := d.PublishDomain(ctx, event)
		require.ErrorIs(t, err, bus.ErrDuplicate)
		require.ErrorContains(t, err, "the transaction is aborted now")
		require.ErrorContains(t, err, "Republish")
		_, later := tx.ExecContext(ctx, `SELECT 1`)
		require.Error(t, later, "and it is")
		return err
	})
	require.ErrorIs(t, err, bus.ErrDuplicate)

	other := loggedIn()
	other.Metadata.EventID = "e-2"
	require.NoError(t, d.Transact(d.ctx, func(ctx context.Context, tx *sql.Tx) error {
		written, err := d.Republish(ctx, event, other)
		require.Equal(t, 1, written, "the new one only")
		return err
	}))
	require.Equal(t, []string{"e-1", "e-2"}, d.ids(t))
}

func TestOpenRowsAreExplained(t *testing.T) {
	t.Parallel()
	d := overPostgres(t)
	tx := d.begin(t)
	rows, err := tx.QueryContext(d.ctx, `SELECT generate_series(1, 100000)`)
	require.NoError(t, err)
	defer func() { require.NoError(t, errors.Join(rows.Err(), rows.Close())) }()
	require.True(t, rows.Next())
	_, err = d.InTx(tx).PublishAudit(d.ctx, loggedIn())
	require.ErrorIs(t, err, outbox.ErrRowsOpen)
	require.ErrorContains(t, err, "read them to the end or close them before publishing")
}

func TestACancelledContextStopsTheWrite(t *testing.T) {
	t.Parallel()
	d := overPostgres(t)
	locker := d.begin(t)
	_, err := locker.ExecContext(d.ctx, `LOCK TABLE event_outbox`)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(d.ctx)
	defer cancel()
	published := make(chan error, 1)
	go func() {
		_, err := d.PublishAudit(ctx, loggedIn())
		published <- err
	}()
	// The driver's cancel request is lost on a server process that has not begun yet.
	require.Eventually(t, func() bool {
		var waiting int
		require.NoError(t, d.db.QueryRow(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting))
		return waiting == 1
	}, time.Minute, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-published, context.Canceled)
}

// statements counts what a connection is asked to execute.
type statements struct {
	driver.Connector
	inserts atomic.Int32
}

func (s *statements) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := s.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &countedConn{conn, s}, nil
}

type countedConn struct {
	driver.Conn
	counter *statements
}

func (c *countedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if strings.Contains(query, "INSERT") {
		c.counter.inserts.Add(1)
	}
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c *countedConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if strings.Contains(query, "INSERT") {
		c.counter.inserts.Add(1)
	}
	return c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
}

func (c *countedConn) CheckNamedValue(v *driver.NamedValue) error {
	if checker, ok := c.Conn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

func TestPublishAllIsOneStatement(t *testing.T) {
	t.Parallel()
	_, dsn := bustest.Postgres(t)
	connector, err := pq.NewConnector(dsn)
	require.NoError(t, err)
	counter := &statements{Connector: connector}
	db := sql.OpenDB(counter)
	t.Cleanup(func() { _ = db.Close() })
	d := overDB(t, db)

	counter.inserts.Store(0)
	events := make([]envelopes.Event, 0, 30_000)
	for range cap(events) / 3 {
		events = append(events, userCreated("u"), loggedIn(), welcome("u"))
	}
	ids, err := d.PublishAll(d.ctx, events...)
	require.NoError(t, err)
	require.EqualValues(t, 1, counter.inserts.Load(), "of three topics, and more parameters than the protocol has, had they been parameters")
	require.Equal(t, ids, d.ids(t), "in order")

	_, err = d.PublishDomain(d.ctx, userCreated("u"))
	require.NoError(t, err)
	require.EqualValues(t, 2, counter.inserts.Load(), "and the counter counts")

	_, err = d.PublishAll(d.ctx, userCreated("u"), loggedIn(), envelopes.Audit{})
	require.ErrorIs(t, err, envelopes.ErrInvalid)
	require.EqualValues(t, 2, counter.inserts.Load(), "one bad event, no statement")
}
