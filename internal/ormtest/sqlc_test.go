package ormtest_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/tailrace-go/tailrace/bus"
)

// SQLCService has queries that sqlc generated.
type SQLCService struct {
	queries *Queries
	bus     *bus.Bus
}

// Register is one transaction.
func (s SQLCService) Register(ctx context.Context, id, email string) error {
	return s.bus.Transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := s.queries.WithTx(tx).CreateUser(ctx, CreateUserParams{ID: id, Email: email}); err != nil {
			return err
		}
		if _, err := UserCreated.Publish(ctx, s.bus, id, User{Email: email}); err != nil {
			return err
		}
		return check(email)
	})
}

func TestSQLC(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	registers(t, db, SQLCService{New(db), newBus(t, db)})
}

// What follows is as sqlc generates it for database/sql.

// DBTX is sqlc's.
type DBTX interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// New is sqlc's.
func New(db DBTX) *Queries { return &Queries{db: db} }

// Queries is sqlc's.
type Queries struct{ db DBTX }

// WithTx is sqlc's.
func (q *Queries) WithTx(tx *sql.Tx) *Queries { return &Queries{db: tx} }

const createUser = `INSERT INTO users (id, email) VALUES ($1, $2)`

// CreateUserParams is sqlc's.
type CreateUserParams struct {
	ID    string
	Email string
}

// CreateUser is sqlc's.
func (q *Queries) CreateUser(ctx context.Context, arg CreateUserParams) error {
	_, err := q.db.ExecContext(ctx, createUser, arg.ID, arg.Email)
	return err
}
