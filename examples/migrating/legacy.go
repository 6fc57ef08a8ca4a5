package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// guideTable is the table as the guide has it.
const guideTable = `
CREATE TABLE event_outbox (
    id SERIAL PRIMARY KEY,
    event_id VARCHAR(255) NOT NULL UNIQUE,
    topic VARCHAR(255) NOT NULL,
    payload BYTEA NOT NULL,
    key BYTEA,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
    processed_at TIMESTAMP WITH TIME ZONE,
    error_message TEXT,
    retry_count INTEGER NOT NULL DEFAULT 0,
    max_retries INTEGER NOT NULL DEFAULT 3
)`

// insertByHand is how the application publishes: plain SQL, in its transaction.
func insertByHand(ctx context.Context, tx *sql.Tx, topic, eventType, userID string) (eventID string, err error) {
	eventID = uuid.NewString()
	payload, err := json.Marshal(map[string]any{
		"metadata":   map[string]any{"event_id": eventID, "timestamp": time.Now().UTC(), "service_name": serviceName, "priority": "normal"},
		"event_type": eventType,
		"payload": map[string]any{
			"aggregate_type": "user", "aggregate_id": userID, "event_type": eventType, "event_data": map[string]any{"name": "Ada"},
		},
	})
	if err != nil {
		return "", err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO event_outbox (event_id, topic, payload, key) VALUES ($1, $2, $3, $4)`,
		eventID, topic, payload, []byte(userID))
	return eventID, err
}

// relay is its relay: it sends rows that are pending, in the order of their ids.
func (a *app) relay(ctx context.Context, limit int) error {
	rows, err := a.db.QueryContext(ctx, `SELECT event_id, topic, payload, key FROM event_outbox WHERE processed_at IS NULL ORDER BY id LIMIT $1`, limit)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var eventID, topic, key string
		var payload []byte
		if err := rows.Scan(&eventID, &topic, &payload, &key); err != nil {
			return err
		}
		if err := a.publisher.Publish(topic, newMessage(eventID, key, payload)); err != nil {
			return err
		}
		if _, err := a.db.ExecContext(ctx, `UPDATE event_outbox SET processed_at = now() WHERE event_id = $1`, eventID); err != nil {
			return err
		}
	}
	return rows.Err()
}

// newMessage makes a message of Watermill's with a record key.
func newMessage(id, key string, payload []byte) *message.Message {
	msg := message.NewMessage(id, payload)
	msg.Metadata.Set(delivery.KeyMetadata, key)
	return msg
}

func userID(i int) string { return fmt.Sprintf("user-%d", i%5) }
