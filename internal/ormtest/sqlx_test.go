package ormtest_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
)

// SQLXService has its queries by name.
type SQLXService struct {
	db  *sqlx.DB
	bus *bus.Bus
}

// Register is one transaction.
func (s SQLXService) Register(ctx context.Context, id, email string) error {
	tx, err := s.db.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	row := map[string]any{"id": id, "email": email}
	if _, err := tx.NamedExecContext(ctx, `INSERT INTO users (id, email) VALUES (:id, :email)`, row); err != nil {
		return err
	}
	if _, err := UserCreated.Publish(ctx, s.bus.InTx(tx), id, User{Email: email}); err != nil {
		return err
	}
	if err := check(email); err != nil {
		return err
	}
	return tx.Commit()
}

func TestSQLX(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	registers(t, db, SQLXService{sqlx.NewDb(db, "postgres"), newBus(t, db)})
}

// TestTransactJoinsTheTxWithinSQLXs, which is what a context should have.
func TestTransactJoinsTheTxWithinSQLXs(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	b := newBus(t, db)
	tx, err := sqlx.NewDb(db, "postgres").BeginTxx(t.Context(), nil)
	require.NoError(t, err)
	require.ErrorContains(t, b.Transact(b.WithTx(t.Context(), tx), func(context.Context, *sql.Tx) error { return nil }), "*sqlx.Tx")
	require.NoError(t, TransactService{b}.Register(b.WithTx(t.Context(), tx.Tx), "user-1", "ada@example.com"))
	bustest.RequireNothing(t, bustest.OutboxOf(t, db))
	require.NoError(t, tx.Commit())
	bustest.RequireEvent(t, bustest.OutboxOf(t, db), UserCreated, "user-1")
}
