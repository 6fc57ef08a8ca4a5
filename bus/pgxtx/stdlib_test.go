package pgxtx_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/forwarder"
)

// TestEverythingWorksThroughPgxsDriver for database/sql in place of lib/pq: migrating, which setup does,
// publishing, forwarding and looking at the table.
func TestEverythingWorksThroughPgxsDriver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	event := userCreated.New("user-1", user{"ada@example.com"}, bus.WithEventMetadata(envelopes.Metadata{EventID: "the-same"}))
	require.NoError(t, b.bus.Transact(ctx, func(ctx context.Context, _ *sql.Tx) error {
		_, err := b.bus.PublishAll(ctx, event, userCreated.New("user-2", user{"grace@example.com"}))
		return err
	}))
	_, err := b.bus.PublishDomain(ctx, event)
	require.ErrorIs(t, err, bus.ErrDuplicate)
	written, err := b.bus.Republish(ctx, event, userCreated.New("user-3", user{}, bus.WithEventMetadata(envelopes.Metadata{EventID: "another"})))
	require.NoError(t, err)
	require.Equal(t, 1, written)
	bustest.RequireCount(t, b.pending, 3, bustest.Like(envelopes.Domain{}))

	const topic = "user-service.user.user_created"
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, topic, 3, nil)
	sender, err := kafka.NewSender(kafka.SenderConfig{Config: kafka.Config{Brokers: broker.Brokers()}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = sender.Close() })
	f, err := forwarder.New(forwarder.Config{DB: b.db, Sender: sender})
	require.NoError(t, err)
	require.NoError(t, f.Drain(ctx))
	bustest.RequireNothing(t, b.pending)
	require.Len(t, broker.WaitRecords(t, topic, 3, 10*time.Second), 3)

	status, err := outbox.Status(ctx, b.db, "")
	require.NoError(t, err)
	require.Zero(t, status.Pending)
	require.Empty(t, status.Missing)
}

// TestOpenRowsThroughPgxsDriver look like a lost connection, so the error says both.
func TestOpenRowsThroughPgxsDriver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tx, err := b.db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	rows, err := tx.QueryContext(t.Context(), `SELECT generate_series(1, 1000)`)
	require.NoError(t, err)
	defer rows.Close()
	require.True(t, rows.Next())
	_, err = userCreated.Publish(t.Context(), b.bus.InTx(tx), "user-1", user{})
	require.NoError(t, rows.Err())
	require.ErrorContains(t, err, "the connection is gone, or a query's rows are still open on it")
}
