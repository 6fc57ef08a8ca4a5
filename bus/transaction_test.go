package bus_test

import (
	"context"
	"database/sql"
	"errors"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
)

// wrapped is a transaction as other libraries wrap one.
type wrapped struct{ *sql.Tx }

func TestAWrappedTransactionIsOne(t *testing.T) {
	t.Parallel()
	d := overPostgres(t)
	tx := wrapped{d.begin(t)}
	_, err := d.InTx(tx).PublishDomain(d.ctx, userCreated("u"))
	require.NoError(t, err)
	_, err = d.PublishDomain(d.WithTx(d.ctx, tx), userCreated("u"))
	require.NoError(t, err)
	require.Empty(t, d.ids(t), "not committed")

	found, ok := d.TxFrom(d.WithTx(d.ctx, tx))
	require.True(t, ok)
	require.Equal(t, bus.Tx(tx), found)
	_, ok = d.SQLTxFrom(d.WithTx(d.ctx, tx))
	require.False(t, ok, "it is no *sql.Tx")
	err = d.Transact(d.WithTx(d.ctx, tx), func(context.Context, *sql.Tx) error { return nil })
	require.ErrorContains(t, err, "wrapped")

	require.NoError(t, tx.Commit())
	require.Len(t, d.ids(t), 2)
	_, err = d.InTx(tx).PublishDomain(d.ctx, userCreated("u"))
	require.ErrorIs(t, err, sql.ErrTxDone)
}

func TestWithoutTxStaysWhenTheTransactionIsRolledBack(t *testing.T) {
	t.Parallel()
	d := overPostgres(t)
	var kept string
	failure := errors.New("no")
	err := d.Transact(d.ctx, func(ctx context.Context, _ *sql.Tx) error {
		_, err := d.PublishDomain(ctx, userCreated("u"))
		require.NoError(t, err)
		outside := d.WithoutTx(ctx)
		_, given := d.TxFrom(outside)
		require.False(t, given)
		kept, err = d.PublishDomain(outside, userCreated("u"))
		require.NoError(t, err)
		return failure
	})
	require.ErrorIs(t, err, failure)
	require.Equal(t, []string{kept}, d.ids(t))
	require.Equal(t, d.ctx, d.WithoutTx(d.ctx), "nothing to hide")
}

func TestAfterTx(t *testing.T) {
	t.Parallel()
	d := overPostgres(t)
	failure := errors.New("no")
	for _, test := range []struct {
		name      string
		fn        func(tx *sql.Tx) error
		committed bool
	}{
		{"committed", func(*sql.Tx) error { return nil }, true},
		{"rolled back", func(*sql.Tx) error { return failure }, false},
		{"the commit fails", func(tx *sql.Tx) error { return tx.Rollback() }, false},
		{"a panic", func(*sql.Tx) error { panic("boom") }, false},
		{"the goroutine ends", func(*sql.Tx) error { runtime.Goexit(); return nil }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var told []bool
			contexts := make(chan context.Context, 1)
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer func() { _ = recover() }()
				_ = d.Transact(d.ctx, func(ctx context.Context, tx *sql.Tx) error {
					contexts <- ctx
					// A joined one, and one that names the same transaction again, are of it.
					return d.Transact(d.WithTx(ctx, tx), func(ctx context.Context, tx *sql.Tx) error {
						for range 2 {
							assert.True(t, d.AfterTx(ctx, func(committed bool) {
								_, err := tx.ExecContext(d.ctx, "SELECT 1")
								assert.ErrorIs(t, err, sql.ErrTxDone)
								assert.False(t, d.AfterTx(ctx, func(bool) {}))
								told = append(told, committed)
							}))
						}
						assert.Empty(t, told)
						return test.fn(tx)
					})
				})
			}()
			<-done
			require.Equal(t, []bool{test.committed, test.committed}, told)
			require.False(t, d.AfterTx(<-contexts, func(bool) { t.Error("called after the end") }))
		})
	}
}

// TestAfterTxThatPanics keeps no other from being called.
func TestAfterTxThatPanics(t *testing.T) {
	t.Parallel()
	d := overPostgres(t)
	for name, end := range map[string]func(){"a panic": func() { panic("boom") }, "the goroutine ends": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var told []int
			var value any
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer func() { value = recover() }()
				_ = d.Transact(d.ctx, func(ctx context.Context, _ *sql.Tx) error {
					for i := range 3 {
						d.AfterTx(ctx, func(bool) {
							told = append(told, i)
							if i == 1 {
								end()
							}
						})
					}
					return nil
				})
			}()
			<-done
			require.Equal(t, []int{0, 1, 2}, told)
			if name == "a panic" {
				require.Equal(t, "boom", value)
			}
		})
	}
}

func TestAfterTxIsForTransactsOwnTransactions(t *testing.T) {
	t.Parallel()
	d := overPostgres(t)
	never := func(bool) { t.Error("called") }
	require.False(t, d.AfterTx(d.ctx, never))
	require.False(t, d.AfterTx(d.WithTx(d.ctx, d.begin(t)), never), "somebody else ends it")
	require.NoError(t, d.Transact(d.ctx, func(ctx context.Context, _ *sql.Tx) error {
		require.False(t, d.AfterTx(d.WithoutTx(ctx), never))
		require.False(t, d.AfterTx(d.WithTx(ctx, d.begin(t)), never), "another transaction")
		return nil
	}))
}
