package pgxtx_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/outbox"
)

func TestMain(m *testing.M) { bustest.Main(m) }

type user struct {
	Email string `json:"email"`
}

var userCreated = bus.Define[user]("user", "user_created")

// bundle is a service that has pgx and nothing else.
type bundle struct {
	pool *pgxpool.Pool
	// db is over the pool.
	db  *sql.DB
	bus *bus.Bus
	// pending is what waits in the outbox.
	pending bustest.Source
}

// setup gives the service a database of its own, with pgx in a query mode.
func setup(t *testing.T, modes ...pgx.QueryExecMode) *bundle {
	t.Helper()
	_, dsn := bustest.Postgres(t)
	config, err := pgxpool.ParseConfig(dsn)
	require.NoError(t, err)
	if len(modes) > 0 {
		config.ConnConfig.DefaultQueryExecMode = modes[0]
	}
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(t.Context()), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	db := stdlib.OpenDBFromPool(pool)
	t.Cleanup(func() { _ = db.Close() })
	_, err = outbox.Migrate(t.Context(), db, outbox.MigrateConfig{})
	require.NoError(t, err)
	b, err := bus.New(bus.Config{Service: "user-service", DB: db})
	require.NoError(t, err)
	return &bundle{pool: pool, db: db, bus: b, pending: bustest.OutboxOf(t, db)}
}

func (b *bundle) begin(t *testing.T) pgx.Tx {
	t.Helper()
	tx, err := b.pool.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}
