package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/outbox"
)

// wholeShape is all that makes two outboxes equal, whichever way they were made.
func wholeShape(t *testing.T, db *sql.DB) []string {
	t.Helper()
	var all []string
	for _, query := range []string{
		`SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default FROM information_schema.columns
			WHERE table_name LIKE 'event_outbox%' ORDER BY 1, 2`,
		`SELECT indexdef FROM pg_indexes JOIN pg_index ON indexrelid = to_regclass(quote_ident(indexname)) AND indisvalid WHERE tablename LIKE 'event_outbox%' ORDER BY 1`,
		`SELECT unnest(reloptions) AS option FROM pg_class WHERE relname = 'event_outbox' ORDER BY 1`,
		`SELECT sequence_name, data_type, maximum_value, increment, cycle_option FROM information_schema.sequences ORDER BY 1`,
		`SELECT version_id, is_applied FROM event_outbox_migrations ORDER BY 1`,
		`SELECT id, low_water, owner FROM event_outbox_forwarder`,
	} {
		all = append(all, lines(t, db, query)...)
	}
	return all
}

func TestMigrateMakesTheTable(t *testing.T) {
	t.Parallel()
	b := empty(t)
	require.ErrorIs(t, outbox.Check(b.ctx, b.db, ""), outbox.ErrNoTable)
	report, err := outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{})
	require.NoError(t, err)
	require.Equal(t, outbox.Report{Table: `"public"."event_outbox"`, To: 4, Created: true}, report)
	require.NoError(t, outbox.Check(b.ctx, b.db, ""))
	require.Contains(t, lines(t, b.db, `SELECT unnest(reloptions) AS o FROM pg_class WHERE relname = 'event_outbox'`), "o=fillfactor=50 ")
	require.Empty(t, lines(t, b.db, `SELECT indexdef FROM pg_indexes WHERE tablename = 'event_outbox' AND indexdef LIKE '%processed_at%'`))

	report, err = outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{})
	require.NoError(t, err)
	require.Equal(t, outbox.Report{Table: `"public"."event_outbox"`, From: 4, To: 4}, report)
}

func TestMigrateWorksOnOneConnection(t *testing.T) {
	t.Parallel()
	b := empty(t)
	b.db.SetMaxOpenConns(1)
	b.exec(t, guideTable)
	_, err := outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{Rewrite: true})
	require.NoError(t, err)
	require.NoError(t, outbox.Check(b.ctx, b.db, ""))
	require.Equal(t, "0", scalar[string](t, b, `SHOW lock_timeout`), "the session is left as it was found")
	require.Zero(t, scalar[int](t, b, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`))
}

func TestMigrateTakesNamesAsTheyStand(t *testing.T) {
	t.Parallel()
	b := empty(t)
	b.exec(t, `CREATE SCHEMA "Order"; CREATE SCHEMA other`)
	for _, name := range []string{"Order.User", "other.select", "Events_2"} {
		_, err := outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{Table: name})
		require.NoError(t, err)
		require.NoError(t, outbox.Check(b.ctx, b.db, name))
		w, err := outbox.NewWriter(outbox.WriterConfig{DB: b.db, Table: name})
		require.NoError(t, err)
		require.NoError(t, w.Publish("t", newMessage("x"), newMessage("y")))
		status, err := outbox.Status(b.ctx, b.db, name)
		require.NoError(t, err)
		require.Equal(t, int64(2), status.Pending)
	}
	// A name without schema is found along the search path, like the server does.
	b.db.SetMaxOpenConns(1)
	b.exec(t, `SET search_path = other`)
	report, err := outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{Table: "select"})
	require.NoError(t, err)
	require.Equal(t, outbox.Report{Table: `"other"."select"`, From: 4, To: 4}, report)
	b.exec(t, `SET search_path = nowhere`)
	_, err = outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{})
	require.ErrorContains(t, err, "search_path")
}

func TestMigrateBringsTheGuidesTableUpToDate(t *testing.T) {
	t.Parallel()
	b := empty(t)
	b.exec(t, guideTable)
	b.exec(t, `ALTER TABLE event_outbox ADD COLUMN tenant text DEFAULT 'acme'; CREATE INDEX mine ON event_outbox (tenant)`)
	b.exec(t, `INSERT INTO event_outbox (event_id, topic, payload, processed_at, retry_count)
		SELECT 'e' || i, 't', 'x', CASE WHEN i % 2 = 0 THEN now() END, i % 4 FROM generate_series(1, 100) i`)
	const rows = `SELECT id, event_id, topic, payload, key, created_at, processed_at, error_message, retry_count, max_retries, tenant FROM event_outbox ORDER BY id`
	before := lines(t, b.db, rows)
	report, err := outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{})
	require.NoError(t, err)
	require.Equal(t, before, lines(t, b.db, rows))
	require.Equal(t, []string{"widened id to 64 bits"}, report.Rewritten)
	require.Len(t, report.Postponed, 1)
	require.ErrorIs(t, duplicateInAnotherTopic(t, b), outbox.ErrDuplicate)
	b.exec(t, `INSERT INTO event_outbox (event_id, topic, payload) VALUES ('e1', 't', 'x') ON CONFLICT (event_id) DO NOTHING`)

	report, err = outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{Rewrite: true})
	require.NoError(t, err)
	require.Equal(t, []string{"dropped event_outbox_event_id_key"}, report.Rewritten)
	require.Empty(t, report.Postponed)
	require.NoError(t, duplicateInAnotherTopic(t, b))
	require.NotEmpty(t, lines(t, b.db, `SELECT indexname FROM pg_indexes WHERE indexname = 'mine'`), "what the operator added stays")

	// Apart from what the operator added, it is now the table of a fresh database.
	b.exec(t, `ALTER TABLE event_outbox DROP COLUMN tenant`)
	require.Equal(t, wholeShape(t, setup(t).db), wholeShape(t, b.db))
}

func duplicateInAnotherTopic(t *testing.T, b bundle) error {
	t.Helper()
	msg := newMessage("x")
	msg.UUID = "e1"
	return b.writer(t).Publish("elsewhere", msg)
}

func TestMigrateLeavesABigTablesIdsToRewrite(t *testing.T) {
	t.Parallel()
	b := empty(t)
	b.exec(t, guideTable)
	b.exec(t, `INSERT INTO event_outbox (event_id, topic, payload) SELECT i, 't', '' FROM generate_series(1, 100001) i`)
	report, err := outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{})
	require.NoError(t, err)
	require.Contains(t, strings.Join(report.Postponed, "\n"), "100000 rows")
	status, err := outbox.Status(b.ctx, b.db, "")
	require.NoError(t, err)
	require.Equal(t, int64(100001), status.LastID)
	require.Equal(t, int64(1<<31-1), status.MaxID)
	require.InDelta(t, 0.99995, status.Headroom(), 0.00001)
	require.Contains(t, strings.Join(status.Postponed, "\n"), "--rewrite")

	report, err = outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{Rewrite: true})
	require.NoError(t, err)
	require.Contains(t, report.Rewritten, "widened id to 64 bits")
	status, err = outbox.Status(b.ctx, b.db, "")
	require.NoError(t, err)
	require.Equal(t, int64(1<<63-1), status.MaxID)
	require.Empty(t, status.Postponed)
	b.exec(t, `SELECT setval('event_outbox_id_seq', 3000000000)`)
	require.NoError(t, b.writer(t).Publish("t", newMessage("x")))
}

func TestMigrateWidensTheSequenceOfAColumnWidenedByHand(t *testing.T) {
	t.Parallel()
	b := empty(t)
	b.exec(t, guideTable)
	b.exec(t, `ALTER TABLE event_outbox ALTER id TYPE bigint`)
	require.Equal(t, "integer", scalar[string](t, b, `SELECT data_type FROM information_schema.sequences`))
	_, err := outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{})
	require.NoError(t, err)
	require.Equal(t, "bigint", scalar[string](t, b, `SELECT data_type FROM information_schema.sequences WHERE sequence_name = 'event_outbox_id_seq'`))
}

func TestMigrateMendsInvalidIndexes(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(t *testing.T, b bundle){
		"left by an interrupted run": func(t *testing.T, b bundle) { b.exec(t, guideTable) },
		"found after all versions":   func(t *testing.T, b bundle) { b.exec(t, guideTable); migrate(t, b) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := empty(t)
			prepare(t, b)
			b.exec(t, `DROP INDEX IF EXISTS event_outbox_event_id_topic_key`)
			// A cancelled CREATE INDEX CONCURRENTLY leaves an index like this one.
			b.exec(t, `CREATE UNIQUE INDEX event_outbox_event_id_topic_key ON event_outbox (event_id, topic)`)
			b.exec(t, `UPDATE pg_index SET indisvalid = false, indisready = false WHERE indexrelid = 'event_outbox_event_id_topic_key'::regclass`)
			require.ErrorIs(t, outbox.Check(b.ctx, b.db, ""), outbox.ErrNotMigrated)
			migrate(t, b)
			require.NoError(t, outbox.Check(b.ctx, b.db, ""))
			require.True(t, scalar[bool](t, b, `SELECT indisvalid AND indisready FROM pg_index WHERE indexrelid = 'event_outbox_event_id_topic_key'::regclass`))
		})
	}
}

func migrate(t *testing.T, b bundle) outbox.Report {
	t.Helper()
	report, err := outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{})
	require.NoError(t, err)
	return report
}

func TestMigrateWaitsForASessionThatHoldsTheTable(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ddl    string
		config outbox.MigrateConfig
	}{
		"new columns":        {strings.Replace(guideTable, "SERIAL", "BIGSERIAL", 1), outbox.MigrateConfig{}},
		"wider ids":          {guideTable, outbox.MigrateConfig{Rewrite: true}},
		"the old constraint": {strings.Replace(guideTable, "SERIAL", "BIGSERIAL", 1), outbox.MigrateConfig{Rewrite: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := empty(t)
			b.exec(t, c.ddl)
			if name == "the old constraint" {
				migrate(t, b) // It is all that is left to do.
			}
			tx, err := b.db.BeginTx(b.ctx, nil)
			require.NoError(t, err)
			_, err = tx.ExecContext(b.ctx, `INSERT INTO event_outbox (event_id, topic, payload) VALUES ('open', 't', 'x')`)
			require.NoError(t, err)
			c.config.LockTimeout = 20 * time.Millisecond
			done := make(chan error, 1)
			go func() {
				_, err := outbox.Migrate(b.ctx, b.db, c.config)
				done <- err
			}()
			// The migration comes up against the open transaction again and again, and publishers go on.
			var longest time.Duration
			seen := 0
			for i := 0; seen < 2; i++ {
				start := time.Now()
				b.exec(t, `INSERT INTO event_outbox (event_id, topic, payload) VALUES ($1, 't', 'x')`, fmt.Sprint("live", i))
				longest = max(longest, time.Since(start))
				seen += scalar[int](t, b, `SELECT count(*) FROM pg_locks WHERE relation = 'event_outbox'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted`)
			}
			require.Less(t, longest, time.Second, "publishers queue behind the migration's wait")
			select {
			case err := <-done:
				t.Fatalf("it ended although the table is held: %v", err)
			default:
			}
			require.NoError(t, tx.Commit())
			require.NoError(t, <-done)
			require.NoError(t, outbox.Check(b.ctx, b.db, ""))
		})
	}
}

func TestMigrateEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := empty(t)
	b.exec(t, guideTable)
	tx, err := b.db.BeginTx(b.ctx, nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	_, err = tx.ExecContext(b.ctx, `LOCK TABLE event_outbox IN ROW EXCLUSIVE MODE`)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(b.ctx, 300*time.Millisecond)
	defer cancel()
	_, err = outbox.Migrate(ctx, b.db, outbox.MigrateConfig{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// childDSN asks TestMain's child to migrate and exit.
const childDSN = "OUTBOX_TEST_MIGRATE"

func TestMain(m *testing.M) {
	if dsn := os.Getenv(childDSN); dsn != "" {
		db, err := sql.Open("postgres", dsn)
		if err == nil {
			_, err = outbox.Migrate(context.Background(), db, outbox.MigrateConfig{})
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(bustest.Stopping(m).Run())
}

func TestTenProcessesMigrateAtOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, ddl string }{{"fresh database", ""}, {"guide's table", guideTable}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := empty(t)
			b.exec(t, c.ddl)
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
			require.NoError(t, outbox.Check(b.ctx, b.db, ""))
			require.Equal(t, []string{"version_id=0 n=1 ", "version_id=1 n=1 ", "version_id=2 n=1 ", "version_id=3 n=1 ", "version_id=4 n=1 "},
				lines(t, b.db, `SELECT version_id, count(*) AS n FROM event_outbox_migrations GROUP BY 1 ORDER BY 1`))
		})
	}
}

func TestMigrateConfigReportsAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := outbox.Migrate(context.Background(), nil, outbox.MigrateConfig{Table: "9.x y", LockTimeout: -1})
	require.ErrorContains(t, err, "schema part")
	require.ErrorContains(t, err, "table part")
	require.ErrorContains(t, err, "LockTimeout")
	_, err = outbox.Migrate(context.Background(), nil, outbox.MigrateConfig{})
	require.ErrorContains(t, err, "needs a database")
}
