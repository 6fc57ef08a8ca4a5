package ormtest_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/bus/pgxtx"
)

// PGXService has pgx.
type PGXService struct {
	pool *pgxpool.Pool
	bus  *bus.Bus
}

// Register is one transaction.
func (s PGXService) Register(ctx context.Context, id, email string) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO users (id, email) VALUES ($1, $2)`, id, email); err != nil {
			return err
		}
		if _, err := UserCreated.Publish(ctx, s.bus.InTx(pgxtx.New(tx)), id, User{Email: email}); err != nil {
			return err
		}
		return check(email)
	})
}

// overPool makes the Bus of a service that has a pool of pgx's.
func overPool(pool *pgxpool.Pool) (*bus.Bus, error) {
	return bus.New(bus.Config{Service: "user-service", DB: stdlib.OpenDBFromPool(pool)})
}

// inTransactionsOnly makes a Bus that has no connections of its own.
func inTransactionsOnly() (*bus.Bus, error) {
	writer, err := outbox.NewWriter(outbox.WriterConfig{})
	if err != nil {
		return nil, err
	}
	return bus.New(bus.Config{Service: "user-service", Outbox: writer})
}

func TestPGX(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		bus  func(*pgxpool.Pool) (*bus.Bus, error)
	}{
		{"over the pool", overPool},
		{"in transactions only", func(*pgxpool.Pool) (*bus.Bus, error) { return inTransactionsOnly() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			db, dsn := database(t)
			pool, err := pgxpool.New(context.WithoutCancel(t.Context()), dsn)
			require.NoError(t, err)
			t.Cleanup(pool.Close)
			b, err := test.bus(pool)
			require.NoError(t, err)
			registers(t, db, PGXService{pool, b})
		})
	}
}
