package inbox_test

import (
	"context"
	"database/sql"
	"runtime"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/inbox"
)

// BenchmarkInbox handles messages whose handler writes one row, in three ways by turns, so that the
// machine's moods meet all of them alike: without a transaction, in one, and in one with the inbox. An
// operation is one message each way. The tests' server does not wait for its disk; the durable one does.
func BenchmarkInbox(b *testing.B) {
	b.Run("fsync=off", func(b *testing.B) { benchmark(b, setup(b)) })
	b.Run("fsync=on", func(b *testing.B) {
		server, err := bustest.StartPostgres(b.Context(), bustest.PostgresConfig{Durable: true})
		require.NoError(b, err)
		b.Cleanup(func() { _ = server.Stop() })
		name, err := server.CreateDatabase(b.Context(), "bench")
		require.NoError(b, err)
		db, err := sql.Open("postgres", server.DSN(name))
		require.NoError(b, err)
		b.Cleanup(func() { _ = db.Close() })
		benchmark(b, prepare(b, db, server.DSN(name)))
	})
}

func benchmark(b *testing.B, s bundle) {
	b.Helper()
	const own = `INSERT INTO welcomed (event_id) VALUES ($1)`
	once := s.inbox(b, inbox.Config{}).Once("mailer", func(msg *message.Message) error {
		tx, _ := s.bus.SQLTxFrom(msg.Context())
		_, err := tx.ExecContext(msg.Context(), own, msg.UUID)
		return err
	})
	ways := []struct {
		name   string
		handle func(*message.Message) error
	}{
		{"bare", func(msg *message.Message) error {
			_, err := s.db.ExecContext(msg.Context(), own, msg.UUID)
			return err
		}},
		{"transaction", func(msg *message.Message) error {
			return s.bus.Transact(msg.Context(), func(ctx context.Context, tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, own, msg.UUID)
				return err
			})
		}},
		{"inbox", once},
	}
	took, allocated := make([]time.Duration, len(ways)), make([]uint64, len(ways))
	var before, after runtime.MemStats
	for b.Loop() {
		for i, way := range ways {
			msg := newMessage()
			runtime.ReadMemStats(&before)
			began := time.Now()
			err := way.handle(msg)
			took[i] += time.Since(began)
			runtime.ReadMemStats(&after)
			require.NoError(b, err)
			allocated[i] += after.Mallocs - before.Mallocs
		}
	}
	b.ReportMetric(0, "ns/op") // all ways together mean nothing
	for i, way := range ways {
		b.ReportMetric(float64(took[i].Microseconds())/float64(b.N), way.name+"-µs")
		b.ReportMetric(float64(allocated[i])/float64(b.N), way.name+"-allocs")
	}
	b.ReportMetric(took[2].Seconds()/took[1].Seconds(), "inbox/transaction")
	b.ReportMetric(took[2].Seconds()/took[0].Seconds(), "inbox/bare")
}
