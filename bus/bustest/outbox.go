package bustest

import (
	"context"
	"database/sql"
	"encoding/json"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/lib/pq"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// Querier reads a database. *sql.DB sees what was committed, a *sql.Tx what it has written besides.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Outbox is a view of the events that wait in an outbox table. [OutboxOf] makes it.
type Outbox struct {
	t     testing.TB
	db    Querier
	table string
}

var _ Source = Outbox{}

// OutboxOf returns a view of the events that wait in the outbox table of a database, for the same
// assertions as a [Recorder]'s: after a rollback there is nothing in it, after a commit there is
// everything. It reads anew for each, with a connection of db: a pool of one that a transaction holds has
// none left, and the test fails after 30 s. The table is event_outbox unless another is given, as "table"
// or "schema.table".
func OutboxOf(t testing.TB, db Querier, table ...string) Outbox {
	t.Helper()
	name := "event_outbox"
	if len(table) > 0 {
		name = table[0]
	}
	parts := strings.Split(name, ".")
	for i, part := range parts {
		parts[i] = pq.QuoteIdentifier(part)
	}
	return Outbox{t: t, db: db, table: strings.Join(parts, ".")}
}

// Events returns the events that were neither delivered nor given up, in the order of their ids. It fails
// the test when the table cannot be read.
func (o Outbox) Events() []Published {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	rows, err := o.db.QueryContext(ctx, `SELECT event_id, topic, payload, key, headers
		FROM `+o.table+` WHERE processed_at IS NULL AND retry_count < max_retries ORDER BY id`)
	if err != nil {
		o.t.Fatalf("bustest: read the outbox: %v", err)
	}
	defer func() { _ = rows.Close() }()
	var events []Published
	for rows.Next() {
		var id, topic string
		var payload, key, headers []byte
		if err := rows.Scan(&id, &topic, &payload, &key, &headers); err != nil {
			o.t.Fatalf("bustest: read the outbox: %v", err)
		}
		msg := message.NewMessage(id, payload)
		if headers != nil {
			if err := json.Unmarshal(headers, &msg.Metadata); err != nil {
				o.t.Fatalf("bustest: the headers of event %s: %v", id, err)
			}
		}
		if key != nil {
			msg.Metadata.Set(delivery.KeyMetadata, string(key))
		}
		events = append(events, published(topic, msg))
	}
	if err := rows.Err(); err != nil {
		o.t.Fatalf("bustest: read the outbox: %v", err)
	}
	return events
}
