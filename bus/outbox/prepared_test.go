package outbox_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/outbox"
)

// preparing is a writer that prepares, and a pool of so many connections.
func preparing(t *testing.T, b bundle, connections int, change func(*outbox.WriterConfig)) (*outbox.Writer, *sql.DB) {
	t.Helper()
	db, err := sql.Open("postgres", b.dsn)
	require.NoError(t, err)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	config := outbox.WriterConfig{DB: db, Prepare: true}
	if change != nil {
		change(&config)
	}
	w, err := outbox.NewWriter(config)
	require.NoError(t, err)
	return w, db
}

// inTx publishes messages in a transaction of db's and returns how many statements that connection keeps.
func inTx(t *testing.T, b bundle, w *outbox.Writer, db *sql.DB, msgs ...*message.Message) (statements int) {
	t.Helper()
	tx, err := db.BeginTx(b.ctx, nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	require.NoError(t, w.Write(b.ctx, tx, same("t", len(msgs)), msgs))
	require.NoError(t, tx.QueryRowContext(b.ctx, `SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'INSERT INTO %'`).Scan(&statements))
	require.NoError(t, tx.Commit())
	return statements
}

// untilPrepared publishes until the INSERT is prepared and returns how many events that took.
func untilPrepared(t *testing.T, b bundle, w *outbox.Writer, db *sql.DB, message func() *message.Message) (written int) {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		written++
		if inTx(t, b, w, db, message()) == 1 {
			return written
		}
		require.True(t, time.Now().Before(end), "it is not prepared")
	}
}

// The only connection of a pool may be in the transaction that publishes first: that one goes without.
func TestPreparedInserts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w, db := preparing(t, b, 1, func(c *outbox.WriterConfig) { c.MaxRetries = 7 })
	body := func() *message.Message {
		return newMessage("body\x00\xff", delivery.KeyMetadata, "k\x00", "h", `"v"`)
	}
	written := untilPrepared(t, b, w, db, body)
	for range 3 {
		require.Equal(t, 1, inTx(t, b, w, db, body()))
		require.NoError(t, w.Write(b.ctx, nil, same("t", 1), []*message.Message{body()}))
		require.Equal(t, 1, inTx(t, b, w, db, body(), body()), "many are one statement, as ever")
		written += 4
	}
	require.EqualValues(t, written, scalar[int64](t, b, `SELECT count(*) FROM event_outbox
		WHERE payload = '\x626f647900ff' AND key = '\x6b00' AND headers->>'h' = '"v"' AND max_retries = 7`))

	again := body()
	require.NoError(t, w.Write(b.ctx, nil, same("t", 1), []*message.Message{again}))
	require.ErrorIs(t, w.Write(b.ctx, nil, same("t", 1), []*message.Message{again}), outbox.ErrDuplicate)

	// A new connection prepares anew, in the transaction that needs it.
	b.exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	require.Eventually(t, func() bool { return db.PingContext(b.ctx) == nil }, patience, 5*time.Millisecond)
	require.Equal(t, 1, inTx(t, b, w, db, body()))
}

func TestPreparedInsertsOfShards(t *testing.T) {
	t.Parallel()
	b := empty(t)
	_, err := outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{Shards: 3})
	require.NoError(t, err)
	w, db := preparing(t, b, 2, func(c *outbox.WriterConfig) { c.Shards = 3 })
	one := func() *message.Message { return newMessage("body", delivery.KeyMetadata, "k") }
	written := untilPrepared(t, b, w, db, one)
	require.EqualValues(t, written, scalar[int64](t, b, `SELECT (SELECT count(*) FROM event_outbox) + (SELECT count(*) FROM event_outbox_shard_1) + (SELECT count(*) FROM event_outbox_shard_2)`))
}

func TestPreparedInsertsThatCannotBe(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := outbox.NewWriter(outbox.WriterConfig{Prepare: true})
	require.ErrorContains(t, err, "set DB")

	w, db := preparing(t, b, 1, nil)
	untilPrepared(t, b, w, db, func() *message.Message { return newMessage("x") })

	tx, err := b.db.BeginTx(b.ctx, nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	err = w.Write(b.ctx, tx, same("t", 1), []*message.Message{newMessage("x")})
	require.ErrorContains(t, err, "another *sql.DB")
	_, err = tx.ExecContext(b.ctx, `SELECT 1`)
	require.NoError(t, err, "the transaction is as it was")

	// What a pooler does that gives the session to others.
	_, err = db.ExecContext(b.ctx, `DEALLOCATE ALL`)
	require.NoError(t, err)
	err = w.Write(b.ctx, nil, same("t", 1), []*message.Message{newMessage("x")})
	require.ErrorContains(t, err, "leave WriterConfig.Prepare off")
}
