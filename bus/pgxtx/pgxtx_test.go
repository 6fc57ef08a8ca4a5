package pgxtx_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/bus/pgxtx"
	"github.com/tailrace-go/tailrace/envelopes"
)

var modes = []pgx.QueryExecMode{
	pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
	pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
}

// TestEventsArriveInEveryMode of pgx: one event and many, and with bytes and characters that a literal
// would have to quote.
func TestEventsArriveInEveryMode(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			b := setup(t, mode)
			t.Run("bytes", func(t *testing.T) { bytesArrive(t, b) })
			tx := b.begin(t)
			in := b.bus.InTx(pgxtx.New(tx))
			email := "ada\\'\"{},é\u2028NULL@example.com"
			_, err := userCreated.Publish(t.Context(), in, "user-1", user{email})
			require.NoError(t, err)
			events := make([]envelopes.Event, 100)
			want := []bustest.Expectation{bustest.Like(userCreated.New("user-1", user{email})).On("user-service.user.user_created").Keyed("user-1")}
			for i := range events {
				event := userCreated.New(fmt.Sprintf("user-%d", i+2), user{email})
				events[i], want = event, append(want, bustest.Like(event).Keyed(event.AggregateID).With("ce_type", "user_created"))
			}
			_, err = in.PublishAll(t.Context(), events...)
			require.NoError(t, err)
			bustest.RequireNothing(t, b.pending)
			require.NoError(t, tx.Commit(t.Context()))
			bustest.RequireExactly(t, b.pending, want...)
		})
	}
}

func bytesArrive(t *testing.T, b *bundle) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	writer, err := outbox.NewWriter(outbox.WriterConfig{MaxRetries: 7})
	require.NoError(t, err)
	tx := b.begin(t)
	msg := func(id string) *message.Message {
		m := message.NewMessage(id, all)
		m.Metadata.Set(delivery.KeyMetadata, string(all))
		m.Metadata.Set("quoted", `"\ 'é`)
		return m
	}
	empty := message.NewMessage("empty", nil)
	require.NoError(t, writer.Write(t.Context(), pgxtx.New(tx), []string{"one"}, []*message.Message{msg("1")}))
	require.NoError(t, writer.Write(t.Context(), pgxtx.New(tx), []string{"two", "three"}, []*message.Message{msg("2"), empty}))

	rows, err := tx.Query(t.Context(), `SELECT event_id, payload, key, headers::text, max_retries FROM event_outbox ORDER BY id`)
	require.NoError(t, err)
	type row struct {
		ID           string
		Payload, Key []byte
		Headers      *string
		Retries      int
	}
	written, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	require.NoError(t, err)
	headers := `{"quoted":"\"\\ 'é"}`
	require.Equal(t, []row{{"1", all, all, &headers, 7}, {"2", all, all, &headers, 7}, {"empty", []byte{}, nil, nil, 7}}, written)
	require.NoError(t, pgxtx.New(tx).Rollback())
}

func TestARollbackPublishesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	broken := errors.New("broken")
	err := pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		ctx := b.bus.WithTx(t.Context(), pgxtx.New(tx))
		_, err := userCreated.Publish(ctx, b.bus, "user-1", user{})
		require.NoError(t, err)
		return broken
	})
	require.ErrorIs(t, err, broken)
	bustest.RequireNothing(t, b.pending)
}

// TestASavepoint keeps what was published outside it.
func TestASavepoint(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tx := b.begin(t)
	publish := func(tx pgx.Tx, id string) {
		_, err := userCreated.Publish(t.Context(), b.bus.InTx(pgxtx.New(tx)), id, user{})
		require.NoError(t, err)
	}
	publish(tx, "before")
	inner, err := tx.Begin(t.Context())
	require.NoError(t, err)
	publish(inner, "undone")
	require.NoError(t, inner.Rollback(t.Context()))
	inner, err = tx.Begin(t.Context())
	require.NoError(t, err)
	publish(inner, "kept")
	require.NoError(t, inner.Commit(t.Context()))
	require.NoError(t, tx.Commit(t.Context()))
	bustest.RequireExactly(t, b.pending, bustest.Like(userCreated.New("before", user{})), bustest.Like(userCreated.New("kept", user{})))
}

func TestErrorsAreThoseOfDatabaseSQL(t *testing.T) {
	t.Parallel()
	b := setup(t)
	event := userCreated.New("user-1", user{}, bus.WithEventMetadata(envelopes.Metadata{EventID: "the-same"}))
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, test := range []struct {
		name string
		run  func(t *testing.T, tx pgx.Tx) error
		is   []error
	}{
		{
			"a duplicate",
			func(t *testing.T, tx pgx.Tx) error {
				in := b.bus.InTx(pgxtx.New(tx))
				_, err := in.PublishDomain(t.Context(), event)
				require.NoError(t, err)
				written, err := in.Republish(t.Context(), event)
				require.NoError(t, err)
				require.Zero(t, written)
				_, err = in.PublishDomain(t.Context(), event)
				var server *pgconn.PgError
				require.ErrorAs(t, err, &server)
				require.Equal(t, "23505", server.Code)
				return err
			},
			[]error{bus.ErrDuplicate},
		},
		{
			"a transaction that is committed",
			func(t *testing.T, tx pgx.Tx) error {
				require.NoError(t, tx.Commit(t.Context()))
				require.ErrorIs(t, pgxtx.New(tx).Commit(), sql.ErrTxDone)
				require.ErrorIs(t, pgxtx.New(tx).Rollback(), sql.ErrTxDone)
				_, err := b.bus.InTx(pgxtx.New(tx)).PublishDomain(t.Context(), event)
				return err
			},
			[]error{sql.ErrTxDone, pgx.ErrTxClosed},
		},
		{
			"a transaction that is rolled back",
			func(t *testing.T, tx pgx.Tx) error {
				require.NoError(t, pgxtx.New(tx).Rollback())
				_, err := b.bus.PublishDomain(b.bus.WithTx(t.Context(), pgxtx.New(tx)), event)
				return err
			},
			[]error{sql.ErrTxDone},
		},
		{
			"open rows",
			func(t *testing.T, tx pgx.Tx) error {
				rows, err := tx.Query(t.Context(), `SELECT generate_series(1, 1000)`)
				require.NoError(t, err)
				defer rows.Close()
				require.True(t, rows.Next())
				_, err = b.bus.InTx(pgxtx.New(tx)).PublishDomain(t.Context(), event)
				return err
			},
			[]error{outbox.ErrRowsOpen},
		},
		{
			"no table",
			func(t *testing.T, tx pgx.Tx) error {
				_, err := tx.Exec(t.Context(), `DROP TABLE event_outbox`)
				require.NoError(t, err)
				_, err = b.bus.InTx(pgxtx.New(tx)).PublishDomain(t.Context(), event)
				return err
			},
			[]error{outbox.ErrNoTable},
		},
		{
			"a context that has ended",
			func(_ *testing.T, tx pgx.Tx) error {
				_, err := pgxtx.New(tx).ExecContext(cancelled, `SELECT 1`)
				return err
			},
			[]error{context.Canceled},
		},
		{
			"a context that ends while the server works",
			func(t *testing.T, tx pgx.Tx) error {
				other := b.begin(t)
				_, err := other.Exec(t.Context(), `LOCK TABLE event_outbox`)
				require.NoError(t, err)
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				_, err = b.bus.InTx(pgxtx.New(tx)).PublishDomain(ctx, event)
				return err
			},
			[]error{context.DeadlineExceeded},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.run(t, b.begin(t)) // and rolled back before the next
			for _, want := range test.is {
				require.ErrorIs(t, err, want)
			}
			require.NotContains(t, err.Error(), "example.com")
		})
	}
}

func TestNoTransactionSaysSo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := userCreated.Publish(t.Context(), b.bus.InTx(pgxtx.New(nil)), "user-1", user{})
	require.ErrorContains(t, err, "the transaction given is nil: begin one")
	_, err = userCreated.Publish(t.Context(), b.bus.InTx((*pgxtx.Tx)(nil)), "user-1", user{})
	require.ErrorContains(t, err, "the transaction given is nil: begin one")
	require.Nil(t, (*pgxtx.Tx)(nil).Unwrap())
	require.Error(t, pgxtx.New(nil).Commit())
	require.Error(t, pgxtx.New(nil).Rollback())
}

// TestTransactJoinsOnlyItsOwn: the *sql.Tx it would give its function is not to be had.
func TestTransactJoinsOnlyItsOwn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tx := b.begin(t)
	ctx := b.bus.WithTx(t.Context(), pgxtx.New(tx))
	require.ErrorContains(t, b.bus.Transact(ctx, func(context.Context, *sql.Tx) error { return nil }), "*pgxtx.Tx")
	from, ok := b.bus.TxFrom(ctx)
	require.True(t, ok)
	require.Equal(t, tx, from.(*pgxtx.Tx).Unwrap())
}

func TestResult(t *testing.T) {
	t.Parallel()
	b := setup(t)
	result, err := pgxtx.New(b.begin(t)).ExecContext(t.Context(), `CREATE TABLE numbers AS SELECT generate_series(1, 3)`)
	require.NoError(t, err)
	rows, err := result.RowsAffected()
	require.NoError(t, err)
	require.EqualValues(t, 3, rows)
	_, err = result.LastInsertId()
	require.Error(t, err)
}

var _ bus.Tx = (*pgxtx.Tx)(nil)
