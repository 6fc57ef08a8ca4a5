package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/outbox"
)

// counted counts a transaction's statements.
type counted struct {
	*sql.Tx

	statements int
}

func (c *counted) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	c.statements++
	return c.Tx.ExecContext(ctx, query, args...)
}

func (b bundle) begin(t testing.TB, level sql.IsolationLevel) *counted {
	t.Helper()
	tx, err := b.db.BeginTx(b.ctx, &sql.TxOptions{Isolation: level})
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback() })
	return &counted{Tx: tx}
}

func TestManyEventsOfManyShardsAreOneStatement(t *testing.T) {
	t.Parallel()
	b := split(t, 4)
	w, err := outbox.NewWriter(outbox.WriterConfig{Shards: 4, MaxRetries: 7})
	require.NoError(t, err)
	want := make([][]string, 4)
	var msgs []*message.Message
	for i := range 200 {
		msg := newMessage(fmt.Sprint(i), "h", `"\{},'`)
		shard := outbox.ShardOf([]byte(msg.UUID), 4) // without key, by its id
		if i%4 > 0 {
			key := fmt.Sprintf("user-%d\x00", i%20)
			msg.Metadata.Set(delivery.KeyMetadata, key)
			shard = outbox.ShardOf([]byte(key), 4)
		}
		msgs = append(msgs, msg)
		want[shard] = append(want[shard], fmt.Sprintf("id=%d payload=%d ", len(want[shard])+1, i))
	}
	tx := b.begin(t, sql.LevelDefault)
	require.NoError(t, w.Write(b.ctx, tx, same("t", 150), msgs[:150]))
	require.Equal(t, 2, tx.statements, "and one that counts the shards, the first time")
	require.NoError(t, w.Write(b.ctx, tx, same("t", 50), msgs[150:]))
	require.Equal(t, 3, tx.statements)
	require.NoError(t, tx.Commit())
	for n := range want {
		require.Equal(t, want[n], b.whole(t, n), "shard %d", n)
		require.NotEmpty(t, want[n])
	}
}

func TestShardedRowsAreAsOthers(t *testing.T) {
	t.Parallel()
	b := split(t, 2)
	w, err := outbox.NewWriter(outbox.WriterConfig{DB: b.db, Shards: 1, MaxRetries: 7})
	require.NoError(t, err)
	for shard := range 2 {
		key := keyIn(t, shard, 2, shard, 3)
		one := newMessage("body\x00\xff", delivery.KeyMetadata, key, "h", `"v"`)
		require.NoError(t, w.Write(b.ctx, nil, []string{"a"}, []*message.Message{one}))
		require.NoError(t, w.Write(b.ctx, nil, []string{"b", "c"}, []*message.Message{one, one}))
		written, err := w.Republish(b.ctx, nil, []string{"d"}, []*message.Message{one})
		require.NoError(t, err)
		require.EqualValues(t, 1, written)
		require.Equal(t, int64(4), scalar[int64](t, b, `SELECT count(*) FROM `+shardTable(shard)+
			` WHERE payload = '\x626f647900ff' AND key = convert_to($1, 'UTF8') AND max_retries = 7 AND headers::text = '{"h":"\"v\""}'`, key))
	}
	plain := b.sharded(t, 2)
	require.NoError(t, plain.Publish("t", &message.Message{UUID: "bare"}))
	require.NoError(t, plain.Publish("t", &message.Message{UUID: "bare-2"}, &message.Message{UUID: "bare-3"}))
	require.Equal(t, int64(3), scalar[int64](t, b, `SELECT count(*) FROM (TABLE event_outbox UNION ALL TABLE event_outbox_shard_1) a
		WHERE event_id LIKE 'bare%' AND payload = '' AND key IS NULL AND headers IS NULL AND max_retries = 3`))
	require.ErrorIs(t, plain.Publish("", newMessage("x")), outbox.ErrMessage)
	require.ErrorIs(t, plain.Publish("", newMessage("x"), newMessage("y")), outbox.ErrMessage)
}

// TestAWriterNoticesNewShards in the statement that would have gone to an old one, in whatever transaction.
func TestAWriterNoticesNewShards(t *testing.T) {
	t.Parallel()
	for _, level := range []sql.IsolationLevel{sql.LevelReadCommitted, sql.LevelRepeatableRead, sql.LevelSerializable} {
		for _, n := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s, %d events", level, n), func(t *testing.T) {
				t.Parallel()
				b := split(t, 1)
				w := b.sharded(t, 1)
				key := keyIn(t, 1, 2, 4, 5)
				write := func(tx *counted) {
					msgs := make([]*message.Message, n)
					for i := range msgs {
						msgs[i] = ofKey("x", key)
					}
					require.NoError(t, w.Write(b.ctx, tx, same("t", n), msgs))
				}
				tx := b.begin(t, level) // its snapshot is from before both
				write(tx)
				b.raise(t, 2)
				write(tx)
				require.Equal(t, 2+3, tx.statements)
				b.raise(t, 5)
				write(tx)
				write(tx)
				require.Equal(t, 2+3+3+1, tx.statements)
				require.NoError(t, tx.Commit())
				require.Len(t, b.whole(t, 0), n)
				require.Len(t, b.whole(t, 1), n)
				require.Len(t, b.whole(t, 4), 2*n)
			})
		}
	}
}

func TestRepublishingToShards(t *testing.T) {
	t.Parallel()
	b := split(t, 1)
	w := b.sharded(t, 1)
	key := keyIn(t, 1, 2, 2, 3)
	one, two := ofKey("1", key), ofKey("2", key)
	republish := func(msgs ...*message.Message) int64 {
		written, err := w.Republish(b.ctx, nil, same("t", len(msgs)), msgs)
		require.NoError(t, err)
		return written
	}
	require.EqualValues(t, 1, republish(one))
	require.Zero(t, republish(one), "nothing written is not more shards")
	b.raise(t, 2)
	require.Zero(t, republish(one), "it is in the key's old shard")
	require.EqualValues(t, 1, republish(one, two))
	b.raise(t, 3)
	three := ofKey("3", key)
	require.EqualValues(t, 1, republish(one, two, three))
	require.Zero(t, republish(three))
	written, err := w.Republish(b.ctx, nil, []string{"another"}, []*message.Message{one})
	require.NoError(t, err)
	require.EqualValues(t, 1, written)
	for n, rows := range []int{1, 1, 2} {
		require.Len(t, b.whole(t, n), rows)
	}
	require.ErrorIs(t, w.Publish("t", three), outbox.ErrDuplicate)
	require.ErrorIs(t, w.Publish("t", ofKey("4", key), three), outbox.ErrDuplicate)
}

func TestTooFewShardsNameTheCommandAndAbortNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.sharded(t, 3)
	tx := b.begin(t, sql.LevelDefault)
	require.ErrorIs(t, w.Write(b.ctx, tx, []string{"t"}, []*message.Message{newMessage("x")}), outbox.ErrNotMigrated)
	_, err := tx.ExecContext(b.ctx, `SELECT 1`)
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	b.raise(t, 2)
	tx = b.begin(t, sql.LevelDefault)
	err = w.Write(b.ctx, tx, []string{"t"}, []*message.Message{newMessage("x")})
	require.ErrorIs(t, err, outbox.ErrNotMigrated)
	require.ErrorContains(t, err, "has 2 shards, and 3 were asked for: make them with `tailrace migrate --shards 3`")
	b.raise(t, 3)
	require.NoError(t, w.Write(b.ctx, tx, []string{"t"}, []*message.Message{newMessage("x")}))
	require.NoError(t, tx.Commit())

	// What the server says of a transaction that is aborted, or has ended, stays visible.
	require.ErrorIs(t, w.Write(b.ctx, tx, []string{"t"}, []*message.Message{newMessage("x")}), sql.ErrTxDone)
	for _, w := range []*outbox.Writer{w, b.sharded(t, 1)} {
		tx = b.begin(t, sql.LevelDefault)
		_, err = tx.ExecContext(b.ctx, `SELECT 1/0`)
		require.Error(t, err)
		require.ErrorContains(t, w.Write(b.ctx, tx, []string{"t"}, []*message.Message{newMessage("x")}), "aborted")
	}
}

// TestOthersWriteToTheFirstShard: they know of no other.
func TestOthersWriteToTheFirstShard(t *testing.T) {
	t.Parallel()
	b := split(t, 3)
	for range 20 {
		require.NoError(t, b.writer(t).Publish("t", newMessage("x")))
	}
	require.Len(t, b.whole(t, 0), 20)
}
