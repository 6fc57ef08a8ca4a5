package outbox_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

func TestMigrateMakesTheTable(t *testing.T) {
	t.Parallel()
	b := empty(t)
	require.ErrorIs(t, outbox.Check(b.ctx, b.db, ""), outbox.ErrNoTable)
	report, err := outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{})
	require.NoError(t, err)
	require.Equal(t, outbox.Report{Table: `"public"."event_outbox"`, To: 4, Created: true}, report)
	require.NoError(t, outbox.Check(b.ctx, b.db, ""))

	report, err = outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{})
	require.NoError(t, err)
	require.Equal(t, outbox.Report{Table: `"public"."event_outbox"`, From: 4, To: 4}, report)
}

func TestMigrateBringsTheGuidesTableUpToDate(t *testing.T) {
	t.Parallel()
	b := empty(t)
	b.exec(t, guideTable)
	b.exec(t, `INSERT INTO event_outbox (event_id, topic, payload, processed_at, retry_count) SELECT 'e' || i, 't', 'x', CASE WHEN i % 2 = 0 THEN now() END, i % 4 FROM generate_series(1, 100) i`)
	before := lines(t, b.db, `SELECT id, event_id, topic, payload, key, created_at, processed_at, error_message, retry_count, max_retries FROM event_outbox ORDER BY id`)
	report, err := outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{})
	require.NoError(t, err)
	t.Logf("%+v", report)
	require.Equal(t, before, lines(t, b.db, `SELECT id, event_id, topic, payload, key, created_at, processed_at, error_message, retry_count, max_retries FROM event_outbox ORDER BY id`))
	require.NoError(t, outbox.Check(b.ctx, b.db, ""))
}
