package ormtest_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/outbox"
)

// TransactService lets the Bus begin and end.
type TransactService struct{ bus *bus.Bus }

// Register is one transaction.
func (s TransactService) Register(ctx context.Context, id, email string) error {
	return s.bus.Transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO users (id, email) VALUES ($1, $2)`, id, email); err != nil {
			return err
		}
		if _, err := UserCreated.Publish(ctx, s.bus, id, User{Email: email}); err != nil {
			return err
		}
		return check(email)
	})
}

// SQLService begins and ends by itself.
type SQLService struct {
	db  *sql.DB
	bus *bus.Bus
}

// Register is one transaction.
func (s SQLService) Register(ctx context.Context, id, email string) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	if _, err := tx.ExecContext(ctx, `INSERT INTO users (id, email) VALUES ($1, $2)`, id, email); err != nil {
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

func TestTransact(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	registers(t, db, TransactService{newBus(t, db)})
}

func TestSQL(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	registers(t, db, SQLService{db, newBus(t, db)})
}

// deleteAll publishes once it has read: a connection does one thing at a time.
func deleteAll(ctx context.Context, b *bus.Bus, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, `DELETE FROM users RETURNING id`)
	if err != nil {
		return err
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		ids = append(ids, id) // publishing here would be outbox.ErrRowsOpen
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, id := range ids {
		if _, err := UserDeleted.Publish(ctx, b.InTx(tx), id, struct{}{}); err != nil {
			return err
		}
	}
	return nil
}

// UserDeleted has nothing to say but whom it is about.
var UserDeleted = bus.Define[struct{}]("user", "user_deleted")

func TestRowsAreReadBeforeAnythingIsPublished(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	b := newBus(t, db)
	for _, id := range []string{"user-1", "user-2"} {
		require.NoError(t, TransactService{b}.Register(t.Context(), id, id+"@example.com"))
	}
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	rows, err := tx.QueryContext(t.Context(), `SELECT id FROM users`)
	require.NoError(t, err)
	defer rows.Close()
	require.True(t, rows.Next())
	_, err = UserDeleted.Publish(t.Context(), b.InTx(tx), "user-1", struct{}{})
	require.NoError(t, rows.Err())
	require.ErrorIs(t, err, outbox.ErrRowsOpen)
	require.NoError(t, tx.Rollback())

	require.NoError(t, b.Transact(t.Context(), func(ctx context.Context, tx *sql.Tx) error { return deleteAll(ctx, b, tx) }))
	bustest.RequireCount(t, bustest.OutboxOf(t, db), 2, bustest.Like(UserDeleted.New("", struct{}{})))
	users(t, db)
}
