package bus_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/envelopes"
)

// BenchmarkPublishInTransaction compares, in one run, PublishDomain in a transaction with the same
// transaction around a bare INSERT of the same row.
func BenchmarkPublishInTransaction(b *testing.B) {
	d := overPostgres(b)
	event := userCreated("u-1")
	event.Metadata = envelopes.Metadata{EventID: "e", Timestamp: time.Now(), ServiceName: "user-service"}
	payload, err := envelopes.Encode(event)
	require.NoError(b, err)
	event.Metadata = envelopes.Metadata{}
	var headers string
	_, err = d.PublishDomain(d.ctx, event)
	require.NoError(b, err)
	require.NoError(b, d.db.QueryRow(`SELECT headers FROM event_outbox`).Scan(&headers))

	inTransaction := func(publish func(ctx context.Context, tx *sql.Tx) error) time.Duration {
		start := time.Now()
		tx, err := d.db.BeginTx(d.ctx, nil)
		if err != nil {
			b.Fatal(err)
		}
		if err := publish(d.ctx, tx); err != nil {
			b.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			b.Fatal(err)
		}
		return time.Since(start)
	}
	// In turns, so that what else the machine does falls on both alike.
	var bare, published time.Duration
	b.ReportAllocs()
	for b.Loop() {
		bare += inTransaction(func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO event_outbox (event_id, topic, payload, key, headers) VALUES ($1, $2, $3, $4, $5)`,
				envelopes.NewID(), "user-service.user.user_created", payload, []byte("u-1"), headers)
			return err
		})
		published += inTransaction(func(ctx context.Context, tx *sql.Tx) error {
			_, err := d.InTx(tx).PublishDomain(ctx, event)
			return err
		})
	}
	n := float64(b.N)
	b.ReportMetric(float64(bare.Microseconds())/n, "bare-µs/tx")
	b.ReportMetric(float64(published.Microseconds())/n, "bus-µs/tx")
	b.ReportMetric(n/published.Seconds(), "events/s")
	b.ReportMetric(100*(published.Seconds()/bare.Seconds()-1), "%overhead")
}

// BenchmarkPublish is the Bus alone: completing, encoding and handing over.
func BenchmarkPublish(b *testing.B) {
	target, r := direct(b, func(c *bus.Config) { c.Clock = nil })
	ctx := bus.WithMetadata(context.Background(), bus.Metadata{CorrelationID: "req-7"})
	event := userCreated("u-1")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := target.PublishDomain(ctx, event); err != nil {
			b.Fatal(err)
		}
		r.all = r.all[:0]
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

func TestPublishingAllocatesLittle(t *testing.T) {
	target, r := direct(t)
	ctx := bus.WithMetadata(context.Background(), bus.Metadata{CorrelationID: "req-7"})
	var data any = struct{ Email string }{"user@example.com"}
	event := userCreated("u-1")
	event.EventData = data
	// The message and its metadata take most: two channels, a map of ten, its strings.
	require.LessOrEqual(t, testing.AllocsPerRun(500, func() {
		if _, err := target.PublishDomain(ctx, event); err != nil {
			t.Fatal(err)
		}
		r.all = r.all[:0]
	}), 26.0)
}
