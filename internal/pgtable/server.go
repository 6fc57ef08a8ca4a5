package pgtable

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Querier is what reading the catalogs needs; *sql.DB, *sql.Conn and *sql.Tx have it.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// SQLSTATEs that mean the same to every table (PostgreSQL manual, appendix A).
const (
	LockNotAvailable     = "55P03"
	Deadlock             = "40P01"
	SerializationFailure = "40001"
	QueryCanceled        = "57014"
	UndefinedTable       = "42P01"
	UndefinedColumn      = "42703"
)

// SQLState returns the error's SQLSTATE as lib/pq and pgx both tell it, "" if it has none.
func SQLState(err error) string {
	var coded interface{ SQLState() string }
	if errors.As(err, &coded) {
		return coded.SQLState()
	}
	return ""
}

// WithContext keeps the context's error visible: what the server says of a cancelled statement is only
// that it was cancelled.
func WithContext(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || errors.Is(err, ctx.Err()) {
		return err
	}
	return fmt.Errorf("%w: %w", err, ctx.Err())
}

// CheckServer refuses servers that cannot hold the table, older than PostgreSQL 14 or in recovery, with
// errors that wrap fault.
func CheckServer(ctx context.Context, q Querier, fault error) error {
	var version int
	var recovery bool
	if err := q.QueryRowContext(ctx, `SELECT current_setting('server_version_num')::int, pg_is_in_recovery()`).Scan(&version, &recovery); err != nil {
		return fmt.Errorf("ask the server's version: %w", err)
	}
	var faults []error
	if version < 140000 {
		faults = append(faults, fmt.Errorf("%w: PostgreSQL %d.%d is older than 14: upgrade it", fault, version/10000, version%10000))
	}
	if recovery {
		faults = append(faults, fmt.Errorf("%w: it is in recovery (a standby): connect to the primary", fault))
	}
	return errors.Join(faults...)
}

// Resolve returns the name with its schema, and whether the table exists. A name without a schema is
// looked up as the server does, along search_path; a table that is not there yet would be made in the
// path's first schema.
func (n Name) Resolve(ctx context.Context, q Querier) (Name, bool, error) {
	var schema sql.NullString
	var exists bool
	err := q.QueryRowContext(ctx, `SELECT coalesce((SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.oid = to_regclass($1)), nullif($2, ''), current_schema()), to_regclass($1) IS NOT NULL`,
		n.Quoted(), n.Schema).Scan(&schema, &exists)
	if err != nil {
		return n, false, fmt.Errorf("look up %s: %w", n.Quoted(), err)
	}
	if !schema.Valid {
		return n, false, fmt.Errorf("search_path names no schema that exists: write the table as schema.%s", n.Base)
	}
	n.Schema = schema.String
	return n, exists, nil
}

// Wait sleeps for about d, half of it at least, and returns the context's cause if that ends first.
func Wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d/2 + rand.N(d))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
