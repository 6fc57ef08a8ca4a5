package bustest_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/envelopes"
)

func newOutbox(t *testing.T, table string) (*sql.DB, *bus.Bus) {
	t.Helper()
	db, _ := bustest.Postgres(t)
	_, err := outbox.Migrate(t.Context(), db, outbox.MigrateConfig{Table: table})
	require.NoError(t, err)
	b, err := bus.New(bus.Config{Service: "user-service", DB: db, Table: table})
	require.NoError(t, err)
	return db, b
}

func TestAnOutboxHasWhatWasCommitted(t *testing.T) {
	t.Parallel()
	for _, table := range []string{"", "events.Outbox_2"} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			db, _ := bustest.Postgres(t)
			_, err := db.ExecContext(t.Context(), `CREATE SCHEMA events`)
			require.NoError(t, err)
			_, err = outbox.Migrate(t.Context(), db, outbox.MigrateConfig{Table: table})
			require.NoError(t, err)
			b, err := bus.New(bus.Config{Service: "user-service", DB: db, Table: table})
			require.NoError(t, err)
			box := bustest.OutboxOf(t, db)
			if table != "" {
				box = bustest.OutboxOf(t, db, table)
			}
			bustest.RequireNothing(t, box)

			broken := errors.New("broken")
			err = b.Transact(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
				_, err := userCreated.Publish(ctx, b, "u-1", user{Name: "ada"})
				require.NoError(t, err)
				if table == "" {
					bustest.RequireEvent(t, bustest.OutboxOf(t, tx), userCreated, "u-1")
				}
				return broken
			})
			require.ErrorIs(t, err, broken)
			bustest.RequireNothing(t, box)

			_, err = b.PublishAll(t.Context(), userCreated.New("u-2", user{Name: "grace"}),
				envelopes.Notification{EventType: envelopes.UserWelcome, RecipientType: envelopes.RecipientAdmin, Message: "hi"},
				envelopes.Custom{Topic: "metrics", EventType: "sampled"})
			require.NoError(t, err)
			bustest.RequireExactly(t, box,
				bustest.Like(userCreated.New("u-2", user{Name: "grace"})).On("user-service.user.user_created").Keyed("u-2").With("ce_type", "user_created"),
				bustest.Like(envelopes.Notification{Message: "hi"}),
				bustest.Like(envelopes.Custom{Topic: "metrics"}).Keyed(""))
			require.Contains(t, failures(t, func(t testing.TB) { bustest.RequireEvent(t, box, userCreated, "u-1") }),
				"AggregateID: \"u-2\", expected \"u-1\"")
		})
	}
}

func TestAnOutboxHasWhatWaits(t *testing.T) {
	t.Parallel()
	db, b := newOutbox(t, "")
	for _, id := range []string{"sent", "waiting", "dead"} {
		_, err := userCreated.Publish(t.Context(), b, id, user{})
		require.NoError(t, err)
	}
	_, err := db.ExecContext(t.Context(), `UPDATE event_outbox SET processed_at = now() WHERE key = 'sent'`)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), `UPDATE event_outbox SET retry_count = max_retries WHERE key = 'dead'`)
	require.NoError(t, err)
	bustest.RequireExactly(t, bustest.OutboxOf(t, db), bustest.Like(envelopes.Domain{AggregateID: "waiting"}))
}

func TestAnOutboxThatIsNotThereSaysSo(t *testing.T) {
	t.Parallel()
	db, _ := bustest.Postgres(t)
	require.Regexp(t, `^bustest: read the outbox: .*"event_outbox" does not exist`,
		failures(t, func(tb testing.TB) { bustest.RequireNothing(tb, bustest.OutboxOf(tb, db)) }))
}
