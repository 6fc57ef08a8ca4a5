package pgxtx_test

import (
	"fmt"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/bus/pgxtx"
)

// TestShards: the writer counts them, and notices new ones, in every mode of pgx.
func TestShards(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			b := setup(t, mode)
			w, err := outbox.NewWriter(outbox.WriterConfig{Shards: 1, MaxRetries: 7})
			require.NoError(t, err)
			raise := func(shards int) {
				_, err := outbox.Migrate(t.Context(), b.db, outbox.MigrateConfig{Shards: shards})
				require.NoError(t, err)
			}
			number := 0
			write := func(tx pgx.Tx, n int) {
				msgs, topics := make([]*message.Message, n), make([]string, n)
				for i := range msgs {
					number++
					msgs[i], topics[i] = message.NewMessage(fmt.Sprint(number), []byte("\x00'\\")), "t"
					msgs[i].Metadata.Set(delivery.KeyMetadata, fmt.Sprint("key-", i))
				}
				require.NoError(t, w.Write(t.Context(), pgxtx.New(tx), topics, msgs))
				written, err := w.Republish(t.Context(), pgxtx.New(tx), topics, msgs)
				require.NoError(t, err)
				require.Zero(t, written)
			}
			tx := b.begin(t)
			require.ErrorContains(t, w.Write(t.Context(), pgxtx.New(tx), []string{"t"}, []*message.Message{message.NewMessage("1", nil)}), "--shards 1")
			require.NoError(t, tx.Rollback(t.Context()))
			raise(1)
			tx = b.begin(t)
			write(tx, 1)
			for _, shards := range []int{2, 3} {
				raise(shards)
				write(tx, 1)
				write(tx, 20)
			}
			require.NoError(t, tx.Commit(t.Context()))
			total := 0
			for n, table := range []string{"event_outbox", "event_outbox_shard_1", "event_outbox_shard_2"} {
				var rows int
				require.NoError(t, b.db.QueryRowContext(t.Context(), `SELECT count(*) FROM `+table+` WHERE payload = '\x00275c' AND max_retries = 7`).Scan(&rows))
				require.Positive(t, rows, n)
				total += rows
			}
			require.Equal(t, number, total)
		})
	}
}
