package decorators_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/decorators"
)

// store writes a user in the context's transaction and then does what the test wants.
func store(b *testBundle, then func(ctx context.Context, tx bus.Tx) error) func(context.Context, user) (*user, error) {
	return func(ctx context.Context, in user) (*user, error) {
		tx, _ := b.bus.TxFrom(ctx)
		if _, err := tx.ExecContext(ctx, `INSERT INTO users VALUES ($1)`, in.ID); err != nil {
			return nil, err
		}
		return &in, then(ctx, tx)
	}
}

// everything decorates with all four kinds, failures included.
func everything(d *decorators.Decorator, f func(context.Context, user) (*user, error)) func(context.Context, user) (*user, error) {
	domain := domainSpec
	domain.IncludeFailures = true
	return decorators.Must(decorators.OnSuccess(d, successSpec, eitherID,
		decorators.Must(decorators.OnError(d, errorSpec, inputID,
			decorators.Must(decorators.Domain(d, domain, eitherID,
				decorators.Must(decorators.Audit(d, auditSpec, eitherID, f))))))))
}

var (
	successes = []string{"data.created", "user_created", "login_successful"}
	failures  = []string{"data.created", "user_created_failed", "login_failed"}
)

func TestASuccessIsPartOfTheTransaction(t *testing.T) {
	t.Parallel()
	b := outboxed(t, 1)
	create := everything(b.Decorator, store(b, func(context.Context, bus.Tx) error { return nil }))
	require.NoError(t, b.bus.Transact(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
		_, err := create(ctx, user{ID: "u-1"})
		return err
	}))
	require.Equal(t, successes, b.eventTypes(t))
	require.Equal(t, errRefused, b.bus.Transact(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
		_, err := create(ctx, user{ID: "u-2"})
		require.NoError(t, err)
		return errRefused
	}))
	require.Equal(t, successes, b.eventTypes(t), "a success that is rolled back was none")
	require.Equal(t, 1, b.users(t))
}

// TestAFailureSurvivesTheRollback on a pool of one connection, which the transaction has until it ends.
func TestAFailureSurvivesTheRollback(t *testing.T) {
	t.Parallel()
	for shows, fail := range map[string]func(ctx context.Context, tx bus.Tx) error{
		"an error": func(context.Context, bus.Tx) error { return errRefused },
		"an aborted transaction": func(ctx context.Context, tx bus.Tx) error {
			_, err := tx.ExecContext(ctx, `SELECT 1/0`)
			return err
		},
	} {
		t.Run(shows, func(t *testing.T) {
			t.Parallel()
			b := outboxed(t, 1)
			create := everything(b.Decorator, store(b, fail))
			require.Error(t, b.bus.Transact(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
				_, err := create(ctx, user{ID: "u-1"})
				return err
			}))
			require.Equal(t, failures, b.eventTypes(t))
			require.Zero(t, b.users(t))
			require.Zero(t, b.counted(t, unpublished), b.log)
		})
	}
}

func TestAFailureIsPublishedThoughItIsHandled(t *testing.T) {
	t.Parallel()
	b := outboxed(t, 1)
	create := everything(b.Decorator, store(b, func(context.Context, bus.Tx) error { return errRefused }))
	require.NoError(t, b.bus.Transact(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
		_, err := create(ctx, user{ID: "u-1"})
		require.Equal(t, errRefused, err)
		return nil
	}))
	require.Equal(t, failures, b.eventTypes(t))
	require.Equal(t, 1, b.users(t), "what the handler kept is kept")
}

func TestAPanicInATransactionIsPublished(t *testing.T) {
	t.Parallel()
	b := outboxed(t, 1)
	create := everything(b.Decorator, store(b, func(context.Context, bus.Tx) error { panic("broken") }))
	require.PanicsWithValue(t, "broken", func() {
		_ = b.bus.Transact(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
			_, err := create(ctx, user{ID: "u-1"})
			return err
		})
	})
	require.Equal(t, failures, b.eventTypes(t))
	require.Zero(t, b.users(t))
}

func TestACancelledContextLosesNoEvent(t *testing.T) {
	t.Parallel()
	t.Run("of a failure in a transaction", func(t *testing.T) {
		t.Parallel()
		b := outboxed(t, 1)
		ctx, cancel := context.WithCancel(bus.WithMetadata(t.Context(), bus.Metadata{CorrelationID: "req-7"}))
		create := everything(b.Decorator, store(b, func(ctx context.Context, _ bus.Tx) error {
			cancel()
			return ctx.Err()
		}))
		require.ErrorIs(t, b.bus.Transact(ctx, func(ctx context.Context, _ *sql.Tx) error {
			_, err := create(ctx, user{ID: "u-1"})
			return err
		}), context.Canceled)
		require.Equal(t, failures, b.eventTypes(t))
		require.Equal(t, "req-7", b.rows(t)[0].envelope.Metadata.CorrelationID, "it is the request's all the same")
	})
	for shows, err := range map[string]error{"of a success": nil, "of a failure": errRefused} {
		t.Run(shows, func(t *testing.T) {
			t.Parallel()
			b := outboxed(t, 1)
			ctx, cancel := context.WithCancel(t.Context())
			call := everything(b.Decorator, func(context.Context, user) (*user, error) {
				cancel()
				return nil, err
			})
			_, got := call(ctx, user{ID: "u-1"})
			require.Equal(t, err, got)
			require.Len(t, b.rows(t), 3)
		})
	}
}

func TestInATransactionAnEventThatCannotBeWrittenFailsTheCall(t *testing.T) {
	t.Parallel()
	b := outboxed(t, 1)
	swallowing := store(b, func(ctx context.Context, tx bus.Tx) error {
		_, _ = tx.ExecContext(ctx, `SELECT 1/0`)
		return nil
	})
	logging := successSpec
	logging.Policy = decorators.PolicyLog
	for shows, f := range map[string]func(context.Context, user) (*user, error){
		"audit":   decorators.Must(decorators.Audit(b.Decorator, auditSpec, eitherID, swallowing)),
		"domain":  decorators.Must(decorators.Domain(b.Decorator, domainSpec, eitherID, swallowing)),
		"success": decorators.Must(decorators.OnSuccess(b.Decorator, logging, eitherID, swallowing)),
	} {
		err := b.bus.Transact(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
			_, err := f(ctx, user{ID: "u-1"})
			return err
		})
		require.ErrorIs(t, err, decorators.ErrNotPublished, shows)
		require.ErrorContains(t, err, "current transaction is aborted", shows)
	}
	require.Equal(t, 3, b.counted(t, unpublished))
	require.Empty(t, b.rows(t))

	noAggregate := decorators.Must(decorators.Domain(b.Decorator, domainSpec, noID, store(b, func(context.Context, bus.Tx) error { return nil })))
	require.ErrorIs(t, b.bus.Transact(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
		_, err := noAggregate(ctx, user{ID: "u-1"})
		return err
	}), decorators.ErrNoID)
	require.Zero(t, b.users(t))
}

// TestSomebodyElsesTransaction is one that no Transact will end: the failure is written at once, on another
// connection.
func TestSomebodyElsesTransaction(t *testing.T) {
	t.Parallel()
	b := outboxed(t, 2)
	create := everything(b.Decorator, store(b, func(context.Context, bus.Tx) error { return errRefused }))
	tx, err := b.db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = create(b.bus.WithTx(t.Context(), tx), user{ID: "u-1"})
	require.Equal(t, errRefused, err)
	require.Equal(t, failures, b.eventTypes(t), "the transaction is open still")
	require.NoError(t, tx.Rollback())
	require.Equal(t, failures, b.eventTypes(t))
	require.Zero(t, b.users(t))

	succeed := everything(b.Decorator, store(b, func(context.Context, bus.Tx) error { return nil }))
	tx, err = b.db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = succeed(b.bus.WithTx(t.Context(), tx), user{ID: "u-2"})
	require.NoError(t, err)
	require.Len(t, b.rows(t), 3, "a success waits for the commit")
	require.NoError(t, tx.Commit())
	require.Len(t, b.rows(t), 6)

	_, err = everything(b.Decorator, echo)(b.bus.WithTx(t.Context(), tx), user{ID: "u-3"})
	require.ErrorIs(t, err, sql.ErrTxDone, "one that has ended takes no success")
	require.Len(t, b.rows(t), 8, "but the failures that come of it")
}

// TestAPoolOfOneDoesNotDeadlock shows the trap that the package's doc tells of: the write of the failure
// waits for a connection that its own caller has, until the timeout.
func TestAPoolOfOneDoesNotDeadlock(t *testing.T) {
	t.Parallel()
	b := outboxed(t, 1, func(c *decorators.Config) { c.Timeout = 50 * time.Millisecond })
	tx, err := b.db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	returning := errorSpec
	returning.Policy = decorators.PolicyReturn
	create := decorators.Must(decorators.OnError(b.Decorator, returning, inputID,
		decorators.Must(decorators.Audit(b.Decorator, auditSpec, eitherID, store(b, func(context.Context, bus.Tx) error { return errRefused })))))
	_, err = create(b.bus.WithTx(t.Context(), tx), user{ID: "u-1"})
	require.ErrorIs(t, err, errRefused)
	require.ErrorIs(t, err, decorators.ErrNotPublished)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, tx.Rollback())
	require.Empty(t, b.rows(t))
	require.Equal(t, 2, b.counted(t, unpublished))
	require.Contains(t, b.log.String(), "kind=audit event_type=data.created")
}

func TestOutsideATransactionAnEventIsPublishedAfterTheCall(t *testing.T) {
	t.Parallel()
	b := outboxed(t, 1)
	var before []string
	create := everything(b.Decorator, func(_ context.Context, in user) (*user, error) {
		before = b.eventTypes(t)
		return &in, nil
	})
	_, err := create(t.Context(), user{ID: "u-1"})
	require.NoError(t, err)
	require.Empty(t, before)
	require.Equal(t, successes, b.eventTypes(t))
}

// TestWhenAnEventIsNotPublished says what the caller sees outside a transaction.
func TestWhenAnEventIsNotPublished(t *testing.T) {
	t.Parallel()
	away := errors.New("broker away")
	type call = func(context.Context, user) (*user, error)
	for kind, c := range map[string]struct {
		decorate func(d *decorators.Decorator, p decorators.Policy, f call) (call, error)
		original call
		returns  bool
	}{
		"audit": {func(d *decorators.Decorator, p decorators.Policy, f call) (call, error) {
			spec := auditSpec
			spec.Policy = p
			return decorators.Audit(d, spec, eitherID, f)
		}, echo, false},
		"audit of a failure": {func(d *decorators.Decorator, p decorators.Policy, f call) (call, error) {
			spec := auditSpec
			spec.Policy = p
			return decorators.Audit(d, spec, eitherID, f)
		}, refuse, false},
		"domain": {func(d *decorators.Decorator, p decorators.Policy, f call) (call, error) {
			spec := domainSpec
			spec.Policy = p
			return decorators.Domain(d, spec, eitherID, f)
		}, echo, false},
		"on success": {func(d *decorators.Decorator, p decorators.Policy, f call) (call, error) {
			spec := successSpec
			spec.Policy = p
			return decorators.OnSuccess(d, spec, eitherID, f)
		}, echo, true},
		"on error": {func(d *decorators.Decorator, p decorators.Policy, f call) (call, error) {
			spec := errorSpec
			spec.Policy = p
			return decorators.OnError(d, spec, inputID, f)
		}, refuse, false},
	} {
		for policy, returns := range map[decorators.Policy]bool{
			decorators.PolicyDefault: c.returns, decorators.PolicyLog: false, decorators.PolicyReturn: true,
		} {
			d := direct(t)
			d.recorder.Fail(away)
			f, err := c.decorate(d.Decorator, policy, c.original)
			require.NoError(t, err)
			wantOut, wantErr := c.original(t.Context(), user{ID: "u-1"})
			out, err := f(t.Context(), user{ID: "u-1"})
			require.Equal(t, wantOut, out, "%s: the result stands", kind)
			require.Equal(t, 1, d.counted(t, unpublished), kind)
			if returns {
				require.ErrorIs(t, err, decorators.ErrNotPublished, kind)
				require.ErrorIs(t, err, away, kind)
				if wantErr != nil {
					require.ErrorIs(t, err, wantErr, kind)
				}
				require.Empty(t, d.log.String(), kind)
				continue
			}
			require.Equal(t, wantErr, err, "%s: the call's own error is returned as it is", kind)
			require.Contains(t, d.log.String(), "broker away", kind)
			require.Contains(t, d.log.String(), "level=ERROR", kind)
		}
	}
}
