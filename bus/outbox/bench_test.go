package outbox_test

import (
	"fmt"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// event is of the size and with the metadata that bus gives an event.
func event() *message.Message {
	id := uuid.NewString()
	msg := message.NewMessage(id, fmt.Appendf(nil, `{"metadata":{"event_id":%q},"payload":"%0260d"}`, id, 1))
	for name, value := range map[string]string{
		delivery.KeyMetadata: "user-1", "correlation_id": uuid.NewString(), "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"ce_specversion": "1.0", "ce_id": id, "ce_source": "/user-service", "ce_type": "user.registered", "ce_time": "2026-01-01T00:00:00Z",
		"ce_subject": "user-1", "content-type": "application/json",
	} {
		msg.Metadata.Set(name, value)
	}
	return msg
}

// BenchmarkWrite compares a transaction that publishes with one that does the bare INSERT, in one run.
func BenchmarkWrite(b *testing.B) {
	const bare = `INSERT INTO event_outbox (event_id, topic, payload, key, headers) VALUES ($1, $2, $3, $4, $5)`
	const headers = `{"ce_id":"1","ce_source":"/user-service","ce_specversion":"1.0","ce_subject":"user-1","ce_time":"2026-01-01T00:00:00Z","ce_type":"user.registered","content-type":"application/json","correlation_id":"1"}`
	for _, n := range []int{1, 10} {
		b.Run(fmt.Sprintf("bare INSERT ×%d a transaction", n), func(b *testing.B) {
			s := setup(b)
			b.ReportAllocs()
			for b.Loop() {
				tx, err := s.db.BeginTx(b.Context(), nil)
				require.NoError(b, err)
				for range n {
					msg := event()
					_, err = tx.ExecContext(b.Context(), bare, msg.UUID, "marty.users", []byte(msg.Payload), []byte("user-1"), headers)
					require.NoError(b, err)
				}
				require.NoError(b, tx.Commit())
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "events/s")
		})
		b.Run(fmt.Sprintf("Writer.Write of %d a transaction", n), func(b *testing.B) {
			s := setup(b)
			w := s.writer(b)
			topics := same("marty.users", n)
			b.ReportAllocs()
			for b.Loop() {
				tx, err := s.db.BeginTx(b.Context(), nil)
				require.NoError(b, err)
				msgs := make([]*message.Message, n)
				for i := range msgs {
					msgs[i] = event()
				}
				require.NoError(b, w.Write(b.Context(), tx, topics, msgs))
				require.NoError(b, tx.Commit())
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkWriteSharded compares a transaction that publishes to one table with one that chooses among four, in
// one run.
func BenchmarkWriteSharded(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		for _, shards := range []int{0, 1, 4} {
			b.Run(fmt.Sprintf("%d events, %d shards", n, shards), func(b *testing.B) {
				s := setup(b)
				if shards > 0 {
					s.raise(b, shards)
				}
				w := s.sharded(b, shards)
				topics := same("marty.users", n)
				b.ReportAllocs()
				next := 0
				for b.Loop() {
					tx, err := s.db.BeginTx(b.Context(), nil)
					require.NoError(b, err)
					msgs := make([]*message.Message, n)
					for i := range msgs {
						next++
						msgs[i] = event()
						msgs[i].Metadata.Set(delivery.KeyMetadata, fmt.Sprintf("user-%d", next%1000))
					}
					require.NoError(b, w.Write(b.Context(), tx, topics, msgs))
					require.NoError(b, tx.Commit())
				}
				b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "events/s")
			})
		}
	}
}
