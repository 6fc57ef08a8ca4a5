package pgxtx

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Tx is a pgx.Tx as database/sql speaks of transactions; it is a bus.Tx. Like a pgx.Tx it is for one
// goroutine at a time.
type Tx struct{ tx pgx.Tx }

// New returns tx for bus.Bus.InTx and bus.Bus.WithTx. It begins and ends nothing. A pgx.Tx that is a
// savepoint, by pgx.Tx.Begin, will do: what is published in it is gone when it is rolled back.
func New(tx pgx.Tx) *Tx { return &Tx{tx} }

// Unwrap returns the pgx.Tx, for code that has it from a context:
//
//	if tx, ok := b.TxFrom(ctx); ok {
//		err = tx.(*pgxtx.Tx).Unwrap().QueryRow(ctx, …)
//	}
func (t *Tx) Unwrap() pgx.Tx {
	if t == nil {
		return nil
	}
	return t.tx
}

// errNil: New was given no transaction.
var errNil = errors.New("pgxtx: the transaction given is nil: begin one, or publish without InTx and WithTx")

// ExecContext executes one statement. errors.Is(err, sql.ErrTxDone) is a transaction that has ended; an
// error of the server has its SQLState, and is a *pgconn.PgError.
func (t *Tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if t.Unwrap() == nil {
		return nil, errNil
	}
	tag, err := t.tx.Exec(ctx, query, args...)
	if err != nil {
		return nil, explain(ctx, err)
	}
	return result{tag}, nil
}

// Commit commits. pgx.Tx.Commit is better, since it takes a context.
func (t *Tx) Commit() error {
	if t.Unwrap() == nil {
		return errNil
	}
	return explain(context.Background(), t.tx.Commit(context.Background()))
}

// Rollback rolls back. pgx.Tx.Rollback is better, since it takes a context.
func (t *Tx) Rollback() error {
	if t.Unwrap() == nil {
		return errNil
	}
	return explain(context.Background(), t.tx.Rollback(context.Background()))
}

// explain keeps visible what database/sql would say.
func explain(ctx context.Context, err error) error {
	switch ended := ctx.Err(); {
	case err == nil:
		return nil
	case errors.Is(err, pgx.ErrTxClosed):
		return fmt.Errorf("%w: %w", sql.ErrTxDone, err)
	case ended != nil && !errors.Is(err, ended):
		return fmt.Errorf("%w: %w", ended, err)
	}
	return err
}

type result struct{ tag pgconn.CommandTag }

// LastInsertId implements sql.Result. PostgreSQL has no such thing.
func (result) LastInsertId() (int64, error) {
	return 0, errors.New("pgxtx: PostgreSQL tells no last id: use RETURNING")
}

// RowsAffected implements sql.Result.
func (r result) RowsAffected() (int64, error) { return r.tag.RowsAffected(), nil }
