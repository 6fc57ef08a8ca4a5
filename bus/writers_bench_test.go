package bus_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/envelopes"
)

// BenchmarkEightWriters compares, in one run and in turns, what eight writers commit: a transaction that
// updates a row of the application's and publishes one event, or ten in one call, with the same transaction
// around bare INSERTs of the same rows, and around Watermill's sql.Publisher with its own schema.
func BenchmarkEightWriters(b *testing.B) {
	const writers, each = 8, 100
	d := overPostgres(b)
	event := userCreated("u-1")
	event.Metadata = envelopes.Metadata{EventID: envelopes.NewID(), Timestamp: time.Now(), ServiceName: "user-service"}
	payload, err := envelopes.Encode(event)
	require.NoError(b, err)
	event.Metadata = envelopes.Metadata{}
	_, err = d.PublishDomain(d.ctx, event)
	require.NoError(b, err)
	var headers, topic string
	require.NoError(b, d.db.QueryRow(`SELECT headers, topic FROM event_outbox`).Scan(&headers, &topic))
	var metadata message.Metadata
	require.NoError(b, json.Unmarshal([]byte(headers), &metadata))
	_, err = d.db.Exec(`CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL DEFAULT 0);
		INSERT INTO accounts SELECT generate_series(1, 8)`)
	require.NoError(b, err)
	d.db.SetMaxIdleConns(writers)
	theirs, err := wsql.NewPublisher(d.db, wsql.PublisherConfig{SchemaAdapter: wsql.DefaultPostgreSQLSchema{}, AutoInitializeSchema: true}, watermill.NopLogger{})
	require.NoError(b, err)
	require.NoError(b, theirs.Publish("events", message.NewMessage(envelopes.NewID(), payload))) // makes its table

	const insert = `INSERT INTO event_outbox (event_id, topic, payload, key, headers) VALUES ($1, $2, $3, $4, $5)`
	bare := func(n int) func(context.Context, *sql.Tx) error {
		return func(ctx context.Context, tx *sql.Tx) error {
			for range n {
				if _, err := tx.ExecContext(ctx, insert, envelopes.NewID(), topic, payload, []byte("u-1"), headers); err != nil {
					return err
				}
			}
			return nil
		}
	}
	ten := make([]envelopes.Event, 10)
	for i := range ten {
		ten[i] = event
	}
	ways := []struct {
		name string
		do   func(context.Context, *sql.Tx) error
		took time.Duration
	}{
		{name: "bare", do: bare(1)},
		{name: "bus", do: func(ctx context.Context, tx *sql.Tx) error {
			_, err := d.InTx(tx).PublishDomain(ctx, event)
			return err
		}},
		{name: "watermill", do: func(_ context.Context, tx *sql.Tx) error {
			publisher, err := wsql.NewPublisher(tx, wsql.PublisherConfig{SchemaAdapter: wsql.DefaultPostgreSQLSchema{}}, watermill.NopLogger{})
			if err != nil {
				return err
			}
			msg := message.NewMessage(envelopes.NewID(), payload)
			msg.Metadata = metadata
			return publisher.Publish("events", msg)
		}},
		{name: "bare-10", do: bare(10)},
		{name: "bus-10", do: func(ctx context.Context, tx *sql.Tx) error {
			_, err := d.InTx(tx).PublishAll(ctx, ten...)
			return err
		}},
	}
	for b.Loop() {
		for i := range ways {
			start := time.Now()
			var group sync.WaitGroup
			for w := range writers {
				group.Go(func() {
					for range each {
						tx, err := d.db.BeginTx(d.ctx, nil)
						if err == nil {
							_, err = tx.ExecContext(d.ctx, `UPDATE accounts SET balance = balance + 1 WHERE id = $1`, w+1)
						}
						if err == nil {
							err = ways[i].do(d.ctx, tx)
						}
						if err == nil {
							err = tx.Commit()
						}
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			group.Wait()
			ways[i].took += time.Since(start)
		}
	}
	rate := map[string]float64{}
	for _, way := range ways {
		rate[way.name] = float64(b.N*writers*each) / way.took.Seconds()
		b.ReportMetric(rate[way.name], way.name+"-tx/s")
	}
	b.ReportMetric(rate["bus"]/rate["bare"], "x-bare")
	b.ReportMetric(rate["bus"]/rate["watermill"], "x-watermill")
	b.ReportMetric(rate["bus-10"]/rate["bare-10"], "x-bare-10")
	b.ReportMetric(0, "ns/op")
}
