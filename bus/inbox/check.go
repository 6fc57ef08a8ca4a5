package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tailrace-go/tailrace/internal/pgtable"
)

// Check reports why an inbox cannot work with this table, nil if it can: it does not exist
// ([ErrNoTable]: `tailrace migrate --inbox` makes it), it lacks a column or the unique key that it all
// rests on ([ErrShape]), or the server is a standby or older than PostgreSQL 14 ([ErrServer]). Empty
// means [DefaultTable]. A service calls it when it starts, before it consumes.
func Check(ctx context.Context, db *sql.DB, tableName string) error {
	t, err := parseTable(tableName)
	if err != nil {
		return err
	}
	faults := []error{pgtable.CheckServer(ctx, db, ErrServer)}
	name, exists, err := t.Resolve(ctx, db)
	switch {
	case err != nil:
		faults = append(faults, fmt.Errorf("inbox: %w", err))
	case !exists:
		faults = append(faults, noTable(t))
	default:
		faults = append(faults, checkShape(ctx, db, table{name}))
	}
	return pgtable.WithContext(ctx, errors.Join(faults...))
}

// noTable is the error of a table that is not there, with the command that makes it.
func noTable(t table) error {
	flag := "--inbox"
	if given := t.given(); given != DefaultTable {
		flag += "=" + given
	}
	return fmt.Errorf("%w: %s: create it with `tailrace migrate %s`, or inbox.Migrate", ErrNoTable, t.Quoted(), flag)
}

// checkShape looks for what the statements need. A table with more columns, with defaults, will do.
func checkShape(ctx context.Context, q pgtable.Querier, t table) error {
	var columns, unfilled, keys int
	err := q.QueryRowContext(ctx, `SELECT
			(SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass($1) AND NOT attisdropped AND
				(attname IN ('consumer', 'event_id') AND atttypid IN ('varchar'::regtype, 'text'::regtype)
				OR attname = 'handled_at' AND atttypid = 'timestamptz'::regtype AND atthasdef)),
			(SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass($1) AND NOT attisdropped AND attnum > 0
				AND attname NOT IN ('consumer', 'event_id') AND attnotnull AND NOT atthasdef AND attidentity = ''),
			(SELECT count(*) FROM pg_index WHERE indrelid = to_regclass($1) AND indisunique AND indisvalid AND indimmediate AND indpred IS NULL
				AND indnkeyatts = 2 AND (SELECT array_agg(attname::text ORDER BY attname) FROM pg_attribute
					WHERE attrelid = indrelid AND attnum = ANY(indkey)) = '{consumer,event_id}')`,
		t.Quoted()).Scan(&columns, &unfilled, &keys)
	if err != nil {
		return fmt.Errorf("inbox: read the catalog entry of %s: %w", t.Quoted(), err)
	}
	var faults []error
	if columns != 3 {
		faults = append(faults, fmt.Errorf("%w: %s must have the columns consumer and event_id (varchar or text) and handled_at (timestamptz DEFAULT now()): name another table, or move that one away", ErrShape, t.Quoted()))
	}
	if unfilled > 0 {
		faults = append(faults, fmt.Errorf("%w: %s has a further column that is NOT NULL without a default: give it one", ErrShape, t.Quoted()))
	}
	if keys == 0 && columns == 3 {
		faults = append(faults, fmt.Errorf("%w: %s has no unique key that keeps an event from being marked twice: ALTER TABLE %s ADD PRIMARY KEY (consumer, event_id)", ErrShape, t.Quoted(), t.Quoted()))
	}
	return errors.Join(faults...)
}
