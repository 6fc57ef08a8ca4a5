package inbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/inbox"
)

// The database is away when a message comes: the message is kept, and handled when the database is back.
func TestADatabaseThatIsAwayIsAnOutage(t *testing.T) {
	t.Parallel()
	server, err := bustest.StartPostgres(t.Context(), bustest.PostgresConfig{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Stop() })
	name, err := server.CreateDatabase(t.Context(), t.Name())
	require.NoError(t, err)
	db, err := sql.Open("postgres", server.DSN(name))
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	b := prepare(t, db, server.DSN(name))
	once := b.inbox(t, inbox.Config{}).Once("mailer", b.welcome)
	require.NoError(t, server.Shutdown())
	msg := newMessage()
	require.ErrorIs(t, once(msg), consumer.ErrOutage)
	require.NoError(t, server.Restart(t.Context()))
	require.Eventually(t, func() bool { return once(msg) == nil }, patience, tick, "a pool's broken connections are replaced")
	require.Equal(t, [3]int{1, 1, 1}, b.stays(t))
}

// It goes away while the handler works, whatever the handler then says: nothing stays, and no message is
// set aside for it.
func TestAConnectionLostInTheHandlerIsAnOutage(t *testing.T) {
	t.Parallel()
	for name, handlersError := range map[string]func(error) error{
		"the driver's error":    func(err error) error { return fmt.Errorf("save: %w", err) },
		"the handler's own":     func(error) error { return errBoom },
		"no error, and commits": func(error) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			err := b.inbox(t, inbox.Config{}).Once("mailer", func(msg *message.Message) error {
				require.NoError(t, b.welcome(msg))
				tx, _ := b.bus.SQLTxFrom(msg.Context())
				var pid int
				require.NoError(t, tx.QueryRowContext(msg.Context(), `SELECT pg_backend_pid()`).Scan(&pid))
				b.exec(t, `SELECT pg_terminate_backend($1, 10000)`, pid)
				_, err := tx.ExecContext(msg.Context(), `INSERT INTO welcomed (event_id) VALUES ('x')`)
				return handlersError(err)
			})(newMessage())
			require.ErrorIs(t, err, consumer.ErrOutage)
			require.Equal(t, [3]int{}, b.stays(t))
		})
	}
}

func TestAPermanentErrorStaysOneWithoutAConnection(t *testing.T) {
	t.Parallel()
	b := setup(t)
	err := b.inbox(t, inbox.Config{}).Once("mailer", func(msg *message.Message) error {
		tx, _ := b.bus.SQLTxFrom(msg.Context())
		_, err := tx.ExecContext(msg.Context(), `SELECT pg_terminate_backend(pg_backend_pid())`)
		return consumer.Permanent(err)
	})(newMessage())
	require.ErrorIs(t, err, consumer.ErrPermanent)
	require.NotErrorIs(t, err, consumer.ErrOutage)
}

// Two handlers lock two rows crosswise: one of them is the deadlock's victim, and succeeds when it is
// tried again.
func TestADeadlockIsTriedAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL DEFAULT 0); INSERT INTO accounts VALUES (1), (2)`)
	retry, err := consumer.Retry(consumer.RetryConfig{InitialInterval: time.Millisecond})
	require.NoError(t, err)
	x := b.inbox(t, inbox.Config{})
	victims := make(chan error, 10)
	spy := func(next message.HandlerFunc) message.HandlerFunc {
		return func(msg *message.Message) ([]*message.Message, error) {
			produced, err := next(msg)
			if err != nil {
				victims <- err
			}
			return produced, err
		}
	}
	met := [2]chan struct{}{make(chan struct{}), make(chan struct{})}
	done := make(chan error, 2)
	for i := range 2 {
		handler := chained(func(msg *message.Message) ([]*message.Message, error) {
			tx, _ := b.bus.SQLTxFrom(msg.Context())
			const pay = `UPDATE accounts SET balance = balance + 1 WHERE id = $1`
			if _, err := tx.ExecContext(msg.Context(), pay, 1+i); err != nil {
				return nil, err
			}
			if consumer.Attempt(msg.Context()) == 1 {
				close(met[i])
				<-met[1-i]
			}
			_, err := tx.ExecContext(msg.Context(), pay, 2-i)
			return nil, err
		}, retry, spy, x.Middleware(fmt.Sprint("account ", i)))
		go func() {
			_, err := handler(newMessage())
			done <- err
		}()
	}
	require.NoError(t, await(t, done))
	require.NoError(t, await(t, done))
	require.ErrorIs(t, await(t, victims), consumer.ErrOutage, "not the message's fault, however often")
	require.Equal(t, 4, b.count(t, `SELECT sum(balance) FROM accounts`))
	require.Equal(t, 2, b.count(t, `SELECT count(*) FROM event_inbox`))
}

// Under REPEATABLE READ and SERIALIZABLE a race for one mark ends with 40001, and the next attempt skips.
func TestASerializationFailureIsTriedAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	db, err := sql.Open("postgres", b.dsn+isolated(b.dsn))
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	strict := bundle{db: db, bus: newBus(t, db), ctx: b.ctx}
	msg := newMessage()
	x := strict.inbox(t, inbox.Config{})
	retry, err := consumer.Retry(consumer.RetryConfig{InitialInterval: time.Millisecond})
	require.NoError(t, err)
	attempt := 0
	late := chained(func(msg *message.Message) ([]*message.Message, error) { return nil, strict.welcome(msg) }, retry,
		func(next message.HandlerFunc) message.HandlerFunc {
			return func(msg *message.Message) ([]*message.Message, error) {
				if attempt++; attempt > 1 {
					return next(msg)
				}
				// A snapshot that was taken before the other member's commit.
				err := strict.bus.Transact(msg.Context(), func(ctx context.Context, tx *sql.Tx) error {
					if _, err := tx.ExecContext(ctx, `SELECT 1 FROM event_inbox`); err != nil {
						return err
					}
					if err := b.inbox(t, inbox.Config{}).Once("mailer", b.welcome)(again(msg)); err != nil {
						return err
					}
					inner := again(msg)
					inner.SetContext(ctx)
					_, err := next(inner)
					return err
				})
				require.ErrorIs(t, err, consumer.ErrOutage)
				return nil, err
			}
		}, x.Middleware("mailer"))
	_, err = late(msg)
	require.NoError(t, err)
	require.Equal(t, 2, attempt)
	require.Equal(t, [3]int{1, 1, 1}, b.stays(t))
}

// isolated asks for REPEATABLE READ by default, in either form that a DSN has.
func isolated(dsn string) string {
	if u, err := url.Parse(dsn); err == nil && u.Scheme != "" {
		if u.RawQuery == "" {
			return "?default_transaction_isolation=repeatable%20read"
		}
		return "&default_transaction_isolation=repeatable%20read"
	}
	return " default_transaction_isolation='repeatable read'"
}

func TestAMissingTableKeepsTheMessageAndNamesTheCure(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		table, ddl, says string
		is               error
	}{
		"default":       {"", `DROP TABLE event_inbox`, "tailrace migrate --inbox`", inbox.ErrNoTable},
		"named":         {"app.seen", `SELECT 1`, "tailrace migrate --inbox=app.seen`", inbox.ErrNoTable},
		"no unique key": {"", `ALTER TABLE event_inbox DROP CONSTRAINT event_inbox_pkey`, "inbox.Check", inbox.ErrShape},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.exec(t, c.ddl)
			err := b.inbox(t, inbox.Config{Table: c.table}).Once("mailer", func(*message.Message) error { panic("not to be called") })(newMessage())
			require.ErrorIs(t, err, c.is)
			require.ErrorContains(t, err, c.says)
			require.ErrorIs(t, err, consumer.ErrOutage, "the messages wait until the table is there")
			require.ErrorIs(t, inbox.Check(b.ctx, b.db, c.table), c.is)
		})
	}
}

// The connection breaks while the transaction is being committed. Nobody knows what became of it; the
// next delivery finds out.
func TestACommitOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		committed bool
		again     bool
	}{
		"it was committed": {true, false},
		"it was not":       {false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			db := sql.OpenDB(cutAtCommit(t, b.dsn, c.committed))
			t.Cleanup(func() { _ = db.Close() })
			cut := bundle{db: db, bus: newBus(t, db), ctx: b.ctx}
			msg := newMessage()
			err := cut.inbox(t, inbox.Config{}).Once("mailer", cut.welcome)(again(msg))
			require.ErrorIs(t, err, inbox.ErrUnknown)
			require.ErrorIs(t, err, consumer.ErrOutage)
			require.NotErrorIs(t, err, consumer.ErrPermanent)

			handled := false
			require.NoError(t, b.inbox(t, inbox.Config{}).Once("mailer", func(msg *message.Message) error {
				handled = true
				return b.welcome(msg)
			})(again(msg)))
			require.Equal(t, c.again, handled)
			require.Equal(t, [3]int{1, 1, 1}, b.stays(t))
		})
	}
}
