package inbox_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/inbox"
)

// empty is a database without tables.
func empty(t testing.TB) bundle {
	t.Helper()
	db, dsn := bustest.Postgres(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return bundle{db: db, dsn: dsn, ctx: ctx, bus: newBus(t, db)}
}

// shape is all that makes two inboxes equal.
func (b bundle) shape(t testing.TB) (all []string) {
	t.Helper()
	for _, query := range []string{
		`SELECT concat_ws(' ', table_name, column_name, data_type, character_maximum_length, collation_name, is_nullable, column_default)
			FROM information_schema.columns WHERE table_name LIKE 'event_inbox%' ORDER BY 1`,
		`SELECT indexdef FROM pg_indexes WHERE tablename LIKE 'event_inbox%' ORDER BY 1`,
		`SELECT unnest(reloptions) FROM pg_class WHERE relname = 'event_inbox' ORDER BY 1`,
		`SELECT concat_ws(' ', version_id, is_applied) FROM event_inbox_migrations ORDER BY version_id`,
	} {
		var lines pq.StringArray
		require.NoError(t, b.db.QueryRowContext(b.ctx, `SELECT array_agg(line) FROM (`+query+`) AS q(line)`).Scan(&lines))
		all = append(all, lines...)
	}
	return all
}

func TestMigrateMakesTheTable(t *testing.T) {
	t.Parallel()
	b := empty(t)
	b.db.SetMaxOpenConns(1)
	require.ErrorIs(t, inbox.Check(b.ctx, b.db, ""), inbox.ErrNoTable)
	report, err := inbox.Migrate(b.ctx, b.db, inbox.MigrateConfig{})
	require.NoError(t, err)
	require.Equal(t, inbox.Report{Table: `"public"."event_inbox"`, To: 1, Created: true}, report)
	require.NoError(t, inbox.Check(b.ctx, b.db, ""))
	report, err = inbox.Migrate(b.ctx, b.db, inbox.MigrateConfig{})
	require.NoError(t, err)
	require.Equal(t, inbox.Report{Table: `"public"."event_inbox"`, From: 1, To: 1}, report)
	require.Zero(t, b.count(t, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`))
}

func TestMigrateTakesNamesAsTheyStand(t *testing.T) {
	t.Parallel()
	b := empty(t)
	b.exec(t, `CREATE SCHEMA "Order"`)
	for _, name := range []string{"Order.User", "select", strings.Repeat("x", 63-len("_handled_at_idx"))} {
		_, err := inbox.Migrate(b.ctx, b.db, inbox.MigrateConfig{Table: name})
		require.NoError(t, err)
		require.NoError(t, inbox.Check(b.ctx, b.db, name))
		handled, msg := 0, newMessage()
		x := b.inbox(t, inbox.Config{Table: name})
		for range 2 {
			require.NoError(t, x.Once("mailer", func(*message.Message) error { handled++; return nil })(again(msg)))
		}
		require.Equal(t, 1, handled)
		_, err = x.Purge(b.ctx)
		require.NoError(t, err)
	}
	_, err := inbox.Migrate(b.ctx, nil, inbox.MigrateConfig{Table: "a.b.c", LockTimeout: -1})
	require.ErrorContains(t, err, "table part")
	require.ErrorContains(t, err, "LockTimeout")
	require.Error(t, inbox.PrintMigrations(&bytes.Buffer{}, strings.Repeat("x", 49)))
}

func TestPrintedMigrationsMakeWhatMigrateMakes(t *testing.T) {
	t.Parallel()
	migrated, printed := empty(t), empty(t)
	_, err := inbox.Migrate(migrated.ctx, migrated.db, inbox.MigrateConfig{})
	require.NoError(t, err)
	var text bytes.Buffer
	require.NoError(t, inbox.PrintMigrations(&text, ""))
	printed.db.SetMaxOpenConns(1)
	for range 2 { // The second time changes nothing.
		for statement := range strings.SplitSeq(text.String(), "\n\n") {
			printed.exec(t, statement)
		}
		require.Equal(t, migrated.shape(t), printed.shape(t))
	}
	report, err := inbox.Migrate(printed.ctx, printed.db, inbox.MigrateConfig{})
	require.NoError(t, err)
	require.Equal(t, int64(1), report.From, "Migrate finds the version recorded")
}

func TestATableThatIsNoInboxIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ ddl, says string }{
		"somebody else's": {`CREATE TABLE event_inbox (id int)`, "name another table"},
		"wrong type":      {`CREATE TABLE event_inbox (consumer text, event_id uuid, handled_at timestamptz DEFAULT now(), PRIMARY KEY (consumer, event_id))`, "event_id"},
		"no key":          {`CREATE TABLE event_inbox (consumer text, event_id text, handled_at timestamptz DEFAULT now())`, "ADD PRIMARY KEY"},
		"another column":  {`CREATE TABLE event_inbox (consumer text, event_id text, handled_at timestamptz DEFAULT now(), tenant text NOT NULL, PRIMARY KEY (consumer, event_id))`, "give it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := empty(t)
			b.exec(t, c.ddl)
			for _, err := range []error{second(inbox.Migrate(b.ctx, b.db, inbox.MigrateConfig{})), inbox.Check(b.ctx, b.db, "")} {
				require.ErrorIs(t, err, inbox.ErrShape)
				require.ErrorContains(t, err, c.says)
			}
			require.Zero(t, b.count(t, `SELECT count(*) FROM pg_class WHERE relname = 'event_inbox_migrations'`), "nothing is made beside it")
		})
	}
}

func second[T any](_ T, err error) error { return err }

// A table made by hand that has what it needs is taken as it is.
func TestATableMadeByHandWillDo(t *testing.T) {
	t.Parallel()
	b := empty(t)
	b.exec(t, `CREATE TABLE event_inbox (event_id text, consumer text, note text, handled_at timestamptz NOT NULL DEFAULT now(), UNIQUE (event_id, consumer))`)
	report, err := inbox.Migrate(b.ctx, b.db, inbox.MigrateConfig{})
	require.NoError(t, err)
	require.False(t, report.Created)
	require.NoError(t, inbox.Check(b.ctx, b.db, ""))
	handled, msg := 0, newMessage()
	once := b.inbox(t, inbox.Config{}).Once("mailer", func(*message.Message) error { handled++; return nil })
	require.NoError(t, once(msg))
	require.NoError(t, once(again(msg)))
	require.Equal(t, 1, handled)
}

func TestMigrateWaitsForASessionThatHoldsTheTable(t *testing.T) {
	t.Parallel()
	b := empty(t)
	b.exec(t, `CREATE TABLE event_inbox (event_id text, consumer text, handled_at timestamptz NOT NULL DEFAULT now(), UNIQUE (event_id, consumer))`)
	tx, err := b.db.BeginTx(b.ctx, nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	_, err = tx.ExecContext(b.ctx, `LOCK TABLE event_inbox IN ROW EXCLUSIVE MODE`)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(b.ctx, 300*time.Millisecond)
	defer cancel()
	_, err = inbox.Migrate(ctx, b.db, inbox.MigrateConfig{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, tx.Commit())
	_, err = inbox.Migrate(b.ctx, b.db, inbox.MigrateConfig{})
	require.NoError(t, err)
}

// childDSN asks TestMain's child to migrate and exit.
const childDSN = "INBOX_TEST_MIGRATE"

func migrateAndExit(dsn string) int {
	db, err := sql.Open("postgres", dsn)
	if err == nil {
		_, err = inbox.Migrate(context.Background(), db, inbox.MigrateConfig{})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func TestTenProcessesMigrateAtOnce(t *testing.T) {
	t.Parallel()
	b := empty(t)
	var group sync.WaitGroup
	errs := make(chan error, 10)
	for range 10 {
		group.Go(func() {
			child := exec.CommandContext(b.ctx, os.Args[0])
			child.Env = append(os.Environ(), childDSN+"="+b.dsn)
			if out, err := child.CombinedOutput(); err != nil {
				errs <- fmt.Errorf("%w: %s", err, out)
			}
		})
	}
	group.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	require.NoError(t, inbox.Check(b.ctx, b.db, ""))
	require.Equal(t, 2, b.count(t, `SELECT count(*) FROM event_inbox_migrations`))
}
