package bus

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// txKey is a transaction's place in a context: one a Bus, so that a service with two databases cannot mix
// them.
type txKey struct{ bus *core }

// InTx returns the same Bus over the transaction: what it publishes is written as part of tx, whatever
// the context says. Publishing through it is [ErrNoOutbox] when the Bus has no outbox.
func (b *Bus) InTx(tx *sql.Tx) *Bus {
	return &Bus{core: b.core, bound: true, tx: tx}
}

// WithTx returns a context in which this Bus, and no other, publishes as part of tx. The transaction
// stays the caller's: once it has ended, publishing with the context is an error that
// errors.Is(err, sql.ErrTxDone) recognises. Publishing with it is [ErrNoOutbox] when the Bus has no outbox.
func (b *Bus) WithTx(ctx context.Context, tx *sql.Tx) context.Context {
	return context.WithValue(ctx, txKey{b.core}, tx)
}

// TxFrom returns the transaction that the context has for this Bus, and whether it has one.
func (b *Bus) TxFrom(ctx context.Context) (*sql.Tx, bool) {
	tx, ok := ctx.Value(txKey{b.core}).(*sql.Tx)
	return tx, ok
}

// Transact runs fn in a transaction of Config.DB, which is in fn's context for this Bus, too. It commits
// when fn returns nil and rolls back when fn returns an error, which it returns as it is, or panics.
// After a commit it calls Config.OnCommit, once.
//
// Within a transaction that the Bus or the context already has, fn joins that one, and its end is left
// to whoever began it.
//
// The transaction holds a connection of the pool until fn returns: with a pool of one, anything in fn
// that goes past tx waits for ever.
func (b *Bus) Transact(ctx context.Context, fn func(ctx context.Context, tx *sql.Tx) error) (err error) {
	outer, err := b.transaction(ctx)
	if err != nil {
		return err
	}
	if outer != nil {
		return fn(b.WithTx(ctx, outer), outer)
	}
	if b.core.Outbox == nil {
		return fmt.Errorf("bus: Transact: %w", ErrNoOutbox)
	}
	if b.core.DB == nil {
		return errors.New("bus: Transact needs a database to begin a transaction on: set Config.DB beside Config.Outbox")
	}
	tx, err := b.core.DB.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("bus: begin a transaction: %w", err)
	}
	committed := false
	defer func() {
		// Also when fn panics or ends its goroutine. A rollback that fails has no one to tell more: the
		// connection is gone, and the server rolls back.
		if !committed {
			_ = tx.Rollback()
		}
	}()
	if err := fn(b.WithTx(ctx, tx), tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("bus: commit the transaction: %w", err)
	}
	committed = true
	if b.core.OnCommit != nil {
		b.core.OnCommit()
	}
	return nil
}

// transaction returns the one to publish in, nil for none.
func (b *Bus) transaction(ctx context.Context) (*sql.Tx, error) {
	tx, given := b.tx, b.bound
	if !given {
		tx, given = b.TxFrom(ctx)
	}
	switch {
	case !given:
		return nil, nil
	case tx == nil:
		return nil, errors.New("bus: the transaction given is nil: begin one, or publish without InTx and WithTx")
	case b.core.Outbox == nil:
		return nil, ErrNoOutbox
	}
	return tx, nil
}
