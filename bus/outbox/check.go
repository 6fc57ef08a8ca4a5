package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// Check reports why a forwarder must not work on this table, nil if it may. Empty means [DefaultTable].
//
// The table must exist with all its columns and the forwarder's state table ([ErrNoTable],
// [ErrNotMigrated]: `tailrace migrate` makes them), be of the right types with a sequence of CACHE 1,
// INCREMENT 1 and no CYCLE ([ErrShape]), on a primary server of PostgreSQL 14 or newer ([ErrServer]).
// All that is wrong is reported at once.
func Check(ctx context.Context, db *sql.DB, tableName string) error {
	t, err := parseTable(tableName)
	if err != nil {
		return err
	}
	faults := []error{checkServer(ctx, db)}
	t, exists, err := resolve(ctx, db, t)
	switch {
	case err != nil:
		return errors.Join(append(faults, err)...)
	case !exists:
		return errors.Join(append(faults, fmt.Errorf("%w: %s: create it with `tailrace migrate`", ErrNoTable, t.quoted()))...)
	}
	s, err := inspect(ctx, db, t)
	if err != nil {
		return errors.Join(append(faults, err)...)
	}
	faults = append(faults, s.faults(t))
	if work := s.pendingWork(t); len(work) > 0 {
		faults = append(faults, fmt.Errorf("%w: %s lacks %s: bring it up to date with `tailrace migrate`", ErrNotMigrated, t.quoted(), strings.Join(work, ", ")))
	}
	return errors.Join(faults...)
}
