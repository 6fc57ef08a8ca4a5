package inbox

import (
	"context"
	"database/sql"
	"errors"
)

// joining is within in a transaction that somebody else began, and may commit whatever became of the
// handler. Hence the savepoint: the mark of a failed handler that stayed would make the next delivery a
// duplicate, and the event would be lost.
func (d *delivery) joining(ctx context.Context, tx *sql.Tx, id string) (err error) {
	if _, err := tx.ExecContext(ctx, "SAVEPOINT tailrace_inbox"); err != nil {
		return explainMark(ctx, d.marker.table, err)
	}
	whole := false
	defer func() {
		if whole {
			return
		}
		// Also when the handler panicked or its context has ended. Where the savepoint cannot be had back,
		// nothing may be committed.
		if _, err := tx.ExecContext(context.WithoutCancel(ctx), "ROLLBACK TO SAVEPOINT tailrace_inbox"); err != nil {
			_ = tx.Rollback()
		}
	}()
	if err = d.within(ctx, tx, id); err != nil && !errors.Is(err, errSeen) {
		return err
	}
	// It fails where the handler swallowed the error of its SQL.
	if _, failed := tx.ExecContext(ctx, "RELEASE SAVEPOINT tailrace_inbox"); failed != nil {
		return failed
	}
	whole = true
	return err
}
