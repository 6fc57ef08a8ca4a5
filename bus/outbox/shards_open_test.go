package outbox_test

import (
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

// closed requires that the owner waits for what the text names.
func closed(t testing.TB, b bundle, claim *outbox.Claim, says string) {
	t.Helper()
	for range 2 {
		open, waits, err := claim.Open(b.ctx)
		require.NoError(t, err)
		require.False(t, open)
		require.Contains(t, waits, says)
	}
}

func opens(t testing.TB, b bundle, claim *outbox.Claim) {
	t.Helper()
	for range 2 {
		open, waits, err := claim.Open(b.ctx)
		require.NoError(t, err)
		require.Empty(t, waits)
		require.True(t, open)
	}
}

const stillOpen = "transactions that wrote to the older shards are still open"

func TestANewShardOfAQuietOutboxOpensAtOnce(t *testing.T) {
	t.Parallel()
	b := split(t, 3)
	opens(t, b, b.claim(t, 0))
	opens(t, b, b.claim(t, 2))
	opens(t, b, b.claim(t, 1))
	shards, err := outbox.Shards(b.ctx, b.db, "")
	require.NoError(t, err)
	for _, shard := range shards {
		require.True(t, shard.Open())
	}
	// A table that is only named like a shard is none.
	_, err = outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{Table: "other_shard_1"})
	require.NoError(t, err)
	store, err := outbox.NewStore(b.db, "other_shard_1")
	require.NoError(t, err)
	claim, err := store.Claim(b.ctx, "test", time.Minute)
	require.NoError(t, err)
	opens(t, b, claim)
	require.NoError(t, claim.Release(b.ctx))
}

// TestANewShardWaitsForOldTransactions that may hold an event of one of its keys, and then for that event.
func TestANewShardWaitsForOldTransactions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		end  func(t *testing.T, b bundle, tx *counted, claim *outbox.Claim)
		left int
	}{
		{"committed", func(t *testing.T, _ bundle, tx *counted, _ *outbox.Claim) { require.NoError(t, tx.Commit()) }, 1},
		{"rolled back", func(t *testing.T, _ bundle, tx *counted, _ *outbox.Claim) { require.NoError(t, tx.Rollback()) }, 0},
		{"prepared", func(t *testing.T, b bundle, tx *counted, claim *outbox.Claim) {
			name := "raise-" + scalar[string](t, b, `SELECT current_database()`)
			_, err := tx.ExecContext(b.ctx, `PREPARE TRANSACTION '`+name+`'`)
			require.NoError(t, err)
			closed(t, b, claim, stillOpen)
			b.exec(t, `COMMIT PREPARED '`+name+`'`)
		}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := split(t, 1)
			w := b.sharded(t, 1)
			key := keyIn(t, 0, 1, 1, 2)
			old := b.begin(t, sql.LevelDefault)
			require.NoError(t, w.Write(b.ctx, old, []string{"t"}, []*message.Message{ofKey("1", key)}))
			b.raise(t, 2)
			claim := b.claim(t, 1)
			closed(t, b, claim, stillOpen)
			require.NoError(t, w.Publish("t", ofKey("2", key)))
			// One that begins now goes by the new number, and is not waited for.
			later := b.begin(t, sql.LevelDefault)
			require.NoError(t, w.Write(b.ctx, later, []string{"t"}, []*message.Message{ofKey("stays", keyIn(t, 0, 2, 0, 3))}))
			tt.end(t, b, old, claim)
			require.Len(t, b.whole(t, 0), tt.left)
			if tt.left > 0 {
				closed(t, b, claim, `row 1 of "event_outbox" is of a key that moves`)
				b.exec(t, `UPDATE event_outbox SET processed_at = now()`)
			}
			opens(t, b, claim)
			require.Len(t, b.whole(t, 1), 1)
			require.Equal(t, "{2}", scalar[string](t, b, `SELECT opened_after::text FROM event_outbox_shards WHERE shard = 1`))
		})
	}
}

// TestANewShardWaitsOnlyForItsKeys: an event of another that cannot be delivered holds up nothing.
func TestANewShardWaitsOnlyForItsKeys(t *testing.T) {
	t.Parallel()
	b := split(t, 1)
	w := b.sharded(t, 1)
	moving, staying := keyIn(t, 0, 1, 1, 2), keyIn(t, 0, 1, 0, 2)
	require.NoError(t, w.Publish("t", newMessage("without key")))
	for range 40 {
		msgs := make([]*message.Message, 500)
		for i := range msgs {
			msgs[i] = ofKey("stays", staying)
		}
		require.NoError(t, w.Publish("t", msgs...))
	}
	require.NoError(t, w.Publish("t", ofKey("dead", moving)))
	require.NoError(t, w.Publish("t", ofKey("waits", moving)))
	require.NoError(t, w.Publish("t", ofKey("new", moving)))
	b.exec(t, `UPDATE event_outbox SET retry_count = max_retries WHERE payload = 'dead'`)
	b.exec(t, `UPDATE event_outbox SET retry_count = 1, next_attempt_at = now() + interval '1 hour' WHERE payload = 'waits'`)
	b.raise(t, 2)
	claim := b.claim(t, 1)
	closed(t, b, claim, `row 20003 of`)
	b.exec(t, `UPDATE event_outbox SET processed_at = now() WHERE payload = 'waits'`)
	closed(t, b, claim, `row 20004 of`)
	b.exec(t, `DELETE FROM event_outbox WHERE payload = 'new'`)
	// Written by somebody who knows of no shards, after the number was raised: not of those that are waited for.
	require.NoError(t, b.writer(t).Publish("t", ofKey("stray", moving)))
	opens(t, b, claim)
}

// TestShardsOpenOneBehindTheOther when the number is raised twice: a key's events may be in three of them.
func TestShardsOpenOneBehindTheOther(t *testing.T) {
	t.Parallel()
	b := split(t, 2)
	w := b.sharded(t, 2)
	key := ""
	for i := 0; key == ""; i++ {
		k := fmt.Appendf(nil, "key-%d", i)
		if outbox.ShardOf(k, 2) == 0 && outbox.ShardOf(k, 3) == 2 && outbox.ShardOf(k, 4) == 2 && outbox.ShardOf(k, 5) == 4 {
			key = string(k)
		}
	}
	for i, shards := range []int{2, 3, 5} {
		b.raise(t, shards)
		require.NoError(t, w.Publish("t", ofKey(string(rune('0'+i)), key)))
	}
	for _, n := range []int{0, 2, 4} {
		require.Len(t, b.whole(t, n), 1)
	}
	one, two, three, four := b.claim(t, 1), b.claim(t, 2), b.claim(t, 3), b.claim(t, 4)
	opens(t, b, one)
	closed(t, b, four, `row 1 of "event_outbox"`)
	closed(t, b, two, `row 1 of "event_outbox"`)
	opens(t, b, three)
	b.exec(t, `UPDATE event_outbox SET processed_at = now()`)
	closed(t, b, four, `row 1 of "event_outbox_shard_2"`)
	opens(t, b, two)
	closed(t, b, four, `row 1 of "event_outbox_shard_2"`)
	b.exec(t, `UPDATE event_outbox_shard_2 SET processed_at = now()`)
	opens(t, b, four)
}

// TestAnOwnerThatDiesOpensNothing and the next one starts again.
func TestAnOwnerThatDiesOpensNothing(t *testing.T) {
	t.Parallel()
	b := split(t, 1)
	w := b.sharded(t, 1)
	key := keyIn(t, 0, 1, 1, 2)
	old := b.begin(t, sql.LevelDefault)
	require.NoError(t, w.Write(b.ctx, old, []string{"t"}, []*message.Message{ofKey("1", key)}))
	b.raise(t, 2)
	first := b.claim(t, 1)
	closed(t, b, first, stillOpen)
	b.exec(t, `SELECT pg_terminate_backend($1)`, first.PID())
	_, _, err := first.Open(b.ctx)
	require.Error(t, err)
	require.False(t, first.Valid())
	second := b.claim(t, 1)
	closed(t, b, second, stillOpen)
	require.NoError(t, old.Commit())
	closed(t, b, second, "row 1 of")
	require.NoError(t, second.Release(b.ctx))
	third := b.claim(t, 1)
	closed(t, b, third, "row 1 of")
	b.exec(t, `UPDATE event_outbox SET processed_at = now()`)
	opens(t, b, third)
}
