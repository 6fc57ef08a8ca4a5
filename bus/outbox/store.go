package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/lib/pq"
)

// Store settles the rows of one outbox and hands out its ownership. It is what a forwarder needs of
// the table; a service that publishes needs a [Writer].
//
// Its statements touch rows by id only, never by range, and each is its own transaction: none is open
// while a broker is waited for.
type Store struct {
	db    *sql.DB
	table table

	settle, remove              idStatement
	retry, kill, backlog, purge string
}

// NewStore returns a store over table, which [Check] should have approved. Empty means [DefaultTable].
func NewStore(db *sql.DB, tableName string) (*Store, error) {
	if db == nil {
		return nil, errors.New("outbox: NewStore needs a database: pass the *sql.DB that holds the outbox table")
	}
	t, err := parseTable(tableName)
	if err != nil {
		return nil, err
	}
	name := t.quoted()
	return &Store{
		db: db, table: t,
		settle: byID(`UPDATE ` + name + ` SET processed_at = now() WHERE processed_at IS NULL`),
		remove: byID(`DELETE FROM ` + name + ` WHERE processed_at IS NULL`),
		retry: `UPDATE ` + name + ` SET retry_count = retry_count + 1, error_message = $2,
			next_attempt_at = now() + $3 * interval '1 microsecond'
			WHERE id = ANY($1) AND processed_at IS NULL AND retry_count + 1 < max_retries RETURNING id`,
		kill: `UPDATE ` + name + ` SET retry_count = greatest(max_retries, retry_count), error_message = $2,
			next_attempt_at = NULL WHERE id = $1 AND processed_at IS NULL`,
		backlog: backlogQuery(name),
		purge: `WITH step AS (SELECT id, processed_at FROM ` + name + ` WHERE id > $1 ORDER BY id LIMIT $3),
			gone AS (DELETE FROM ` + name + ` USING (SELECT id FROM step
				WHERE processed_at < now() - $2 * interval '1 microsecond') old WHERE ` + name + `.id = old.id)
			SELECT max(id), count(*), count(*) FILTER (WHERE processed_at < now() - $2 * interval '1 microsecond'),
				count(*) FILTER (WHERE processed_at >= now() - $2 * interval '1 microsecond') FROM step`,
	}, nil
}

// Table returns the table's name as it stands in SQL, quoted where needed.
func (s *Store) Table() string { return s.table.quoted() }

// Settle marks rows as processed. Only ids of acknowledged records may be given. Rows that are
// processed already, or gone, are left alone.
func (s *Store) Settle(ctx context.Context, ids []int64) error {
	return wrap("settle", s.settle.exec(ctx, s.db, ids))
}

// Remove deletes rows instead of marking them, for outboxes that keep nothing.
func (s *Store) Remove(ctx context.Context, ids []int64) error {
	return wrap("remove", s.remove.exec(ctx, s.db, ids))
}

// Retry counts an attempt against rows that have attempts left after it, and sets when the next one is
// due. It returns the ids it counted: a row that is missing from them has spent its last attempt, or is
// no longer pending, and was not changed.
func (s *Store) Retry(ctx context.Context, ids []int64, reason string, after time.Duration) ([]int64, error) {
	rows, err := s.db.QueryContext(ctx, s.retry, pq.Int64Array(ids), reason, after.Microseconds())
	if err != nil {
		return nil, wrap("count an attempt", err)
	}
	defer func() { _ = rows.Close() }()
	counted := make([]int64, 0, len(ids))
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, wrap("count an attempt", err)
		}
		counted = append(counted, id)
	}
	return counted, wrap("count an attempt", rows.Err())
}

// Kill makes a row dead: it stays in the table, for the operator, with retry_count at max_retries.
func (s *Store) Kill(ctx context.Context, id int64, reason string) error {
	_, err := s.db.ExecContext(ctx, s.kill, id, reason)
	return wrap("mark a row dead", err)
}

// Purge deletes, of the next limit rows after the given id, those processed longer than keep ago. It
// returns the last id it looked at, whether there may be more behind it, and how many rows it deleted.
// Rows are settled nearly in id order, so the first step that finds younger processed rows and no old
// ones is the last; dead and pending rows end nothing.
func (s *Store) Purge(ctx context.Context, after int64, keep time.Duration, limit int) (last int64, more bool, deleted int, err error) {
	var highest sql.NullInt64
	var seen, young int
	err = s.db.QueryRowContext(ctx, s.purge, after, keep.Microseconds(), limit).Scan(&highest, &seen, &deleted, &young)
	if err != nil {
		return after, false, 0, wrap("purge", err)
	}
	if !highest.Valid {
		return after, false, 0, nil
	}
	return highest.Int64, seen == limit && (deleted > 0 || young == 0), deleted, nil
}

// LowWater is the id that the owner stored last: every row at or below it is settled, or waits for an operator.
func (s *Store) LowWater(ctx context.Context) (id int64, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT low_water FROM `+s.table.stateTable()).Scan(&id)
	return id, wrap("read the low-water mark", err)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("outbox: %s: %w", what, err)
}
