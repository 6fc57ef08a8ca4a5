package bus

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

// Tx is what a Bus needs of a transaction. *sql.Tx has it and so has what wraps one, such as *sqlx.Tx;
// bus/pgxtx adapts pgx.Tx. A *sql.DB has it not, on purpose. The Bus executes one statement a call with it, three
// in a call that finds more shards of the outbox than before, and never ends it.
type Tx = outbox.Tx

// txKey is a transaction's place in a context: one a Bus, so that a service with two databases cannot mix
// them.
type txKey struct{ bus *core }

// inTx is what a context holds: a transaction, or a nil one where WithoutTx hides an outer one.
type inTx struct {
	tx    Tx
	given bool
	after *afterTx // of a transaction that Transact began
}

// InTx returns the same Bus over the transaction: what it publishes is written as part of tx, whatever
// the context says. Publishing through it is [ErrNoOutbox] when the Bus has no outbox.
func (b *Bus) InTx(tx Tx) *Bus {
	return &Bus{core: b.core, bound: true, tx: tx}
}

// WithTx returns a context in which this Bus, and no other, publishes as part of tx. The transaction
// stays the caller's: once it has ended, publishing with the context is an error that
// errors.Is(err, sql.ErrTxDone) recognises. Publishing with it is [ErrNoOutbox] when the Bus has no outbox.
func (b *Bus) WithTx(ctx context.Context, tx Tx) context.Context {
	bound := inTx{tx: tx, given: true}
	if sqlTx, ok := tx.(*sql.Tx); ok {
		if outer := b.inTx(ctx); outer.tx == Tx(sqlTx) {
			bound.after = outer.after
		}
	}
	return context.WithValue(ctx, txKey{b.core}, bound)
}

// WithoutTx returns a context in which this Bus publishes outside any transaction: what it publishes
// stays when a transaction of ctx is rolled back. The write needs a connection beside the transaction's.
func (b *Bus) WithoutTx(ctx context.Context) context.Context {
	if !b.inTx(ctx).given {
		return ctx
	}
	return context.WithValue(ctx, txKey{b.core}, inTx{})
}

// TxFrom returns the transaction that the context has for this Bus, and whether it has one.
func (b *Bus) TxFrom(ctx context.Context) (Tx, bool) {
	bound := b.inTx(ctx)
	return bound.tx, bound.given
}

// SQLTxFrom is [Bus.TxFrom] for who needs more of the transaction than the Bus does: it returns the
// context's transaction if that is a *sql.Tx, as in Transact.
func (b *Bus) SQLTxFrom(ctx context.Context) (*sql.Tx, bool) {
	tx, ok := b.inTx(ctx).tx.(*sql.Tx)
	return tx, ok
}

func (b *Bus) inTx(ctx context.Context) inTx {
	bound, _ := ctx.Value(txKey{b.core}).(inTx)
	return bound
}

// Transact runs fn in a transaction of Config.DB, which is in fn's context for this Bus, too. It commits
// when fn returns nil and rolls back when fn returns an error, which it returns as it is, or panics.
// After a commit it calls Config.OnCommit, once.
//
// Within a transaction that the Bus or the context already has, fn joins that one, and its end is left
// to whoever began it. That one must be a *sql.Tx.
//
// The transaction holds a connection of the pool until fn returns: with a pool of one, anything in fn
// that goes past tx waits for ever.
func (b *Bus) Transact(ctx context.Context, fn func(ctx context.Context, tx *sql.Tx) error) (err error) {
	outer, err := b.transaction(ctx)
	if err != nil {
		return err
	}
	if outer != nil {
		tx, ok := outer.(*sql.Tx)
		if !ok {
			return fmt.Errorf("bus: Transact can join a *sql.Tx, not the %T it was given: publish on that one with InTx or WithTx", outer)
		}
		return fn(b.WithTx(ctx, tx), tx)
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
	after := new(afterTx)
	committed := false
	defer func() {
		// Also when fn panics or ends its goroutine. A rollback that fails has no one to tell more: the
		// connection is gone, and the server rolls back.
		if !committed {
			_ = tx.Rollback()
		}
		after.run(committed)
	}()
	if err := fn(context.WithValue(ctx, txKey{b.core}, inTx{tx: tx, given: true, after: after}), tx); err != nil {
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
func (b *Bus) transaction(ctx context.Context) (Tx, error) {
	tx, given := b.tx, b.bound
	if !given {
		tx, given = b.TxFrom(ctx)
	}
	switch {
	case !given:
		return nil, nil
	case isNil(tx):
		return nil, errors.New("bus: the transaction given is nil: begin one, or publish without InTx and WithTx")
	case b.core.Outbox == nil:
		return nil, ErrNoOutbox
	}
	return tx, nil
}

func isNil(tx Tx) bool {
	sqlTx, ok := tx.(*sql.Tx)
	return tx == nil || ok && sqlTx == nil
}
