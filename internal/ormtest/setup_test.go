// Package ormtest runs docs/transactions.md: each way to a transaction, on a real PostgreSQL.
package ormtest_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/outbox"
)

func TestMain(m *testing.M) { bustest.Main(m) }

const schema = `CREATE TABLE users (id text PRIMARY KEY, email text NOT NULL UNIQUE)`

// User is what the event says.
type User struct {
	Email string `json:"email"`
}

// UserCreated is the event.
var UserCreated = bus.Define[User]("user", "user_created")

var errAddress = errors.New("not an address")

// check fails late, when everything has been written.
func check(email string) error {
	if !strings.Contains(email, "@") {
		return errAddress
	}
	return nil
}

// registrar is the same service over each library.
type registrar interface {
	Register(ctx context.Context, id, email string) error
}

// database is a migrated one, through lib/pq.
func database(t *testing.T) (*sql.DB, string) {
	t.Helper()
	db, dsn := bustest.Postgres(t)
	_, err := outbox.Migrate(t.Context(), db, outbox.MigrateConfig{})
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), schema)
	require.NoError(t, err)
	return db, dsn
}

// newBus has its outbox in db.
func newBus(t *testing.T, db *sql.DB) *bus.Bus {
	t.Helper()
	b, err := bus.New(bus.Config{Service: "user-service", DB: db})
	require.NoError(t, err)
	return b
}

// registers requires that a user and its event are there together or not at all.
func registers(t *testing.T, db *sql.DB, service registrar) {
	t.Helper()
	pending := bustest.OutboxOf(t, db)
	require.NoError(t, service.Register(t.Context(), "user-1", "ada@example.com"))
	bustest.RequireExactly(t, pending, bustest.Like(UserCreated.New("user-1", User{"ada@example.com"})))
	users(t, db, "user-1")

	require.ErrorIs(t, service.Register(t.Context(), "user-2", "nowhere"), errAddress, "after everything was written")
	require.Error(t, service.Register(t.Context(), "user-3", "ada@example.com"), "the address is taken")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, service.Register(ended, "user-4", "grace@example.com"), context.Canceled)
	bustest.RequireExactly(t, pending, bustest.Like(UserCreated.New("user-1", User{"ada@example.com"})))
	users(t, db, "user-1")
}

// users requires that those are registered.
func users(t *testing.T, db *sql.DB, want ...string) {
	t.Helper()
	var ids string
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT coalesce(string_agg(id, ' ' ORDER BY id), '') FROM users`).Scan(&ids))
	require.Equal(t, strings.Join(want, " "), ids)
}
