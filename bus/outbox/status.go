package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// countLimit bounds how many rows are counted for a status.
const countLimit = 1_000_000

// TableStatus is what an operator asks about an outbox table.
type TableStatus struct {
	// Table is the table's name with its schema, quoted as in SQL.
	Table string
	// Version is the last applied migration, 0 if none was; Latest is the newest there is.
	Version, Latest int64
	// Missing says what a migration has still to make.
	Missing []string
	// Rows is the server's own estimate of all rows, as of the last vacuum or analyze.
	Rows int64
	// Pending counts the rows that wait to be delivered, Dead those that spent their attempts. They are
	// counted above the forwarder's low-water mark and up to 1,000,000.
	Pending, Dead int64
	// OldestPending is how long the oldest pending row has waited, 0 if there is none.
	OldestPending time.Duration
	// Retrying counts those of the pending rows that were refused and are tried again, Blocked those that wait
	// behind one of them since they have its topic and key. Refusal is why the first of them was refused.
	Retrying, Blocked int64
	Refusal           string
	// LastID is the highest id given out, MaxID the highest that column and sequence can give.
	LastID, MaxID int64
	// Owner is the forwarder that owns the outbox, as it calls itself, OwnedSince and Owned since when and for
	// how long it has, by the server's clock. Empty when none does.
	Owner      string
	OwnedSince time.Time
	Owned      time.Duration
	// LastBeat is how long ago the owner was last heard of. A role that may not see the owner's session in
	// pg_stat_activity (it is neither the owner's nor a member of pg_read_all_stats) sees when it last stored its
	// low-water mark.
	LastBeat time.Duration
	// Partitions is how many partitions a partitioned table has, 0 for a plain one, and Room for how many more
	// events they have room.
	Partitions int
	Room       int64
	// Postponed says what waits for `tailrace migrate --rewrite`, Warnings what slows the forwarder.
	Postponed, Warnings []string
}

// Headroom is the share of ids that are still to be given out, from 0 to 1.
func (s TableStatus) Headroom() float64 {
	if s.MaxID <= 0 {
		return 0
	}
	return 1 - float64(s.LastID)/float64(s.MaxID)
}

// Status looks at an outbox table. Empty means [DefaultTable]. A table that is not there is
// [ErrNoTable]; one that needs a migration is not an error here.
func Status(ctx context.Context, db *sql.DB, tableName string) (TableStatus, error) {
	t, err := parseTable(tableName)
	if err != nil {
		return TableStatus{}, err
	}
	t, exists, err := resolve(ctx, db, t)
	if err != nil {
		return TableStatus{}, err
	}
	status := TableStatus{Table: t.quoted()}
	if !exists {
		return status, fmt.Errorf("%w: %s: create it with `tailrace migrate`", ErrNoTable, t.quoted())
	}
	s, err := inspect(ctx, db, t)
	if err != nil {
		return status, err
	}
	status.Rows, status.Missing = s.rows, s.pendingWork(t)
	if err := status.versions(ctx, db, t, s.partitioned()); err != nil {
		return status, err
	}
	status.MaxID = maxOf(s.columns["id"].typ)
	for _, q := range s.sequences {
		status.LastID, status.MaxID = max(status.LastID, q.last), min(status.MaxID, q.max)
	}
	if s.narrow() {
		status.Postponed = append(status.Postponed, fmt.Sprintf("ids end at %d: `tailrace migrate --rewrite` widens them", status.MaxID))
	}
	if old := s.eventIDOnly(); len(old) > 0 {
		status.Postponed = append(status.Postponed, fmt.Sprintf("an event id may be written only once for all topics (%s): `tailrace migrate --rewrite` lifts that", old[0].name))
	}
	for _, name := range s.slowIndexes() {
		status.Warnings = append(status.Warnings, fmt.Sprintf("index %s names processed_at, which makes marking events as processed about three times slower", name))
	}
	if s.partitioned() {
		if err := status.room(ctx, db, t); err != nil {
			return status, err
		}
	}
	return status, status.count(ctx, db, t, s)
}

func (s *TableStatus) versions(ctx context.Context, db *sql.DB, t table, partitioned bool) error {
	migrations := t.migrations(partitioned, DefaultLockTimeout)
	files, err := migrations.Load()
	if err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	s.Latest = files[len(files)-1].Version
	if s.Version, err = migrations.Version(ctx, db); err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	return nil
}

func (s *TableStatus) room(ctx context.Context, db *sql.DB, t table) error {
	all, err := t.partitions(ctx, db)
	if err != nil {
		return err
	}
	if s.Partitions = len(all); len(all) > 0 {
		last, err := t.issued(ctx, db)
		if err != nil {
			return wrap("read the sequence", err)
		}
		span := spanOf(all, 0)
		if s.Room, _ = roomBehind(all, last, span); s.Room < span {
			s.Warnings = append(s.Warnings, fmt.Sprintf("there is room for %d more events: let a forwarder run, or `tailrace migrate`, which make partitions", s.Room))
		}
	}
	return nil
}

func (s *TableStatus) count(ctx context.Context, db *sql.DB, t table, have shape) error {
	var lowWater int64
	if have.state {
		err := db.QueryRowContext(ctx, `SELECT low_water FROM `+t.stateTable()).Scan(&lowWater)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("outbox: read %s: %w", t.stateTable(), err)
		}
		if err := s.ownership(ctx, db, t); err != nil {
			return err
		}
	}
	var oldest sql.NullFloat64
	var lowest sql.NullInt64
	err := db.QueryRowContext(ctx, `SELECT count(*) FILTER (WHERE alive), count(*) FILTER (WHERE NOT alive),
			extract(epoch FROM now() - min(created_at) FILTER (WHERE alive AND `+plausible+`))::float8,
			count(*) FILTER (WHERE alive AND retry_count > 0), min(id) FILTER (WHERE alive AND retry_count > 0)
		FROM (SELECT id, retry_count, retry_count < max_retries AS alive, created_at FROM `+t.quoted()+`
			WHERE processed_at IS NULL AND (id > $1 OR retry_count > 0) LIMIT `+strconv.Itoa(countLimit)+`) waiting`,
		lowWater).Scan(&s.Pending, &s.Dead, &oldest, &s.Retrying, &lowest)
	if err != nil {
		return fmt.Errorf("outbox: count the rows of %s: %w", t.quoted(), err)
	}
	s.OldestPending = time.Duration(oldest.Float64 * float64(time.Second))
	if s.Retrying == 0 {
		return nil
	}
	return s.refusals(ctx, db, t, lowest.Int64)
}

func maxOf(typ string) int64 {
	switch typ {
	case "int2":
		return math.MaxInt16
	case "int4":
		return math.MaxInt32
	}
	return math.MaxInt64
}
