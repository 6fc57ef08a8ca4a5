package outbox

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tailrace-go/tailrace/internal/pgtable"
)

const (
	// DefaultPartitionRows is how many ids a partition of a partitioned outbox has when none is configured.
	DefaultPartitionRows = 1_000_000
	// MinPartitionRows is the fewest; each partition costs a read some microseconds.
	MinPartitionRows = 1000
	// PartitionsAhead is for how many partitions' events there is room at least.
	PartitionsAhead = 8
	// extendTries is how often a partition is tried without any progress, by whomever.
	extendTries = 10
	// maxPartitionsAhead bounds how many a high rate asks for.
	maxPartitionsAhead = 64
	// roomFor is how long the empty partitions last at the highest rate seen: an owner that is away for a
	// weekend must not stop the publishers.
	roomFor = 72 * time.Hour
)

// ErrNoPartition: a partitioned outbox has no partition for the next id, so that nothing can be published.
var ErrNoPartition = errors.New("outbox: the table has no partition for the next event")

// partition is one of a table's: the ids from low up to but not including high.
type partition struct {
	name      table
	low, high int64
	// detaching: an interrupted DETACH left it in between.
	detaching bool
}

// partitionName is the name of the partition that begins at an id.
func (t table) partitionName(low int64) table {
	return table{pgtable.Name{Schema: t.Schema, Base: t.Base + "_p" + strconv.FormatInt(low, 10)}}
}

// maxPartitionedName is maxTableName for a table whose partitions' names are longer.
const maxPartitionedName = pgtable.MaxIdentifier - len("_p9223372036854775807")

// partitionMark is the comment by which a partition is known again once it is detached.
func (t table) partitionMark(low, high int64) string {
	return fmt.Sprintf("ids %d to %d of %s", low, high-1, t.quoted())
}

// createPartition returns the SQL that makes one and attaches it. The CHECK spares ATTACH a scan, and
// ATTACH waits for no writer and stops none.
func (t table) createPartition(low, high int64) string {
	return strings.NewReplacer(
		"{{table}}", t.quoted(), "{{partition}}", t.partitionName(low).quoted(),
		"{{low}}", strconv.FormatInt(low, 10), "{{high}}", strconv.FormatInt(high, 10),
		"{{mark}}", pgtable.QuoteLiteral(t.partitionMark(low, high)),
	).Replace(`BEGIN;
CREATE TABLE {{partition}} (LIKE {{table}} INCLUDING DEFAULTS INCLUDING INDEXES, CONSTRAINT range CHECK (id >= {{low}} AND id < {{high}}))
    WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_insert_scale_factor = 0.05,
        autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 1);
CREATE UNIQUE INDEX ON {{partition}} (event_id, topic);
COMMENT ON TABLE {{partition}} IS {{mark}};
ALTER TABLE {{table}} ATTACH PARTITION {{partition}} FOR VALUES FROM ({{low}}) TO ({{high}});
ALTER TABLE {{partition}} DROP CONSTRAINT range;
COMMIT;`)
}

// partitions lists a table's, by id.
func (t table) partitions(ctx context.Context, q pgtable.Querier) ([]partition, error) {
	var all []partition
	const bound = `substring(pg_get_expr(c.relpartbound, c.oid) FROM `
	err := each(ctx, q, `SELECT n.nspname, c.relname, `+bound+`'FROM \(''?(-?\d+)''?\)')::bigint, `+bound+`'TO \(''?(-?\d+)''?\)')::bigint, i.inhdetachpending
		FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE i.inhparent = to_regclass($1) ORDER BY 3`,
		func(scan func(...any) error) error {
			var p partition
			var low, high sql.NullInt64
			err := scan(&p.name.Schema, &p.name.Base, &low, &high, &p.detaching)
			if err == nil && (!low.Valid || !high.Valid) {
				return fmt.Errorf("%w: partition %s has no bounds that are ids: give it some, or detach it", ErrShape, p.name.quoted())
			}
			p.low, p.high = low.Int64, high.Int64
			all = append(all, p)
			return err
		}, t.quoted())
	if err != nil {
		return nil, fmt.Errorf("outbox: list the partitions of %s: %w", t.quoted(), err)
	}
	return all, nil
}

// Partitions keeps the partitions of a partitioned outbox: enough empty ones ahead of the publishers, and
// none longer than its retention. It is for one goroutine of the outbox's owner, and uses one connection
// of the database at a time. None of its steps takes a lock that a publisher waits for.
type Partitions struct {
	db    *sql.DB
	table table
	// rate is the most ids a second that were given out between two calls of Extend.
	rate float64
	last int64
	at   time.Time
	// kept are partitions that hold rows that are not processed, and when to look again.
	kept map[string]time.Time
}

// OpenPartitions returns the partitions of the store's table, nil for a plain table.
func (s *Store) OpenPartitions(ctx context.Context) (*Partitions, error) {
	t, exists, err := resolve(ctx, s.db, s.table)
	if err != nil || !exists {
		return nil, err
	}
	shape, err := inspect(ctx, s.db, t)
	if err != nil || !shape.partitioned() {
		return nil, err
	}
	return &Partitions{db: s.db, table: t, kept: map[string]time.Time{}}, nil
}

// Extend makes empty partitions until there are at least [PartitionsAhead], and room for three days at the
// highest rate seen, as far as 64 partitions hold it. It returns how many it made, and for how many events
// there is room now.
func (p *Partitions) Extend(ctx context.Context) (made int, room int64, err error) {
	err = p.on(ctx, func(conn *sql.Conn) error {
		made, room, err = p.extend(ctx, conn, 0)
		return err
	})
	return made, room, err
}

// extend makes partitions of the given number of rows, 0 for that of the last one.
func (p *Partitions) extend(ctx context.Context, conn *sql.Conn, rows int64) (made int, room int64, err error) {
	for failed, seen := 0, 0; ; {
		all, err := p.table.partitions(ctx, conn)
		if err != nil {
			return made, 0, err
		}
		last, err := p.table.issued(ctx, conn)
		if err != nil {
			return made, 0, wrap("read the sequence", err)
		}
		p.observe(last, time.Now())
		var next partition
		span := spanOf(all, rows)
		if room, next = roomBehind(all, last, span); room >= p.wanted(span) {
			return made, room, nil
		}
		if _, err := conn.ExecContext(ctx, p.table.createPartition(next.low, next.high)); err != nil {
			_, _ = conn.ExecContext(ctx, `ROLLBACK`)
			// Another process made it first, or holds the lock for a moment.
			if failed++; len(all) > seen {
				failed, seen = 0, len(all)
			}
			if ctx.Err() == nil && failed < extendTries {
				continue
			}
			return made, room, fmt.Errorf("outbox: make partition %s: %w", p.table.partitionName(next.low).quoted(), err)
		}
		made++
	}
}

// spanOf is how many ids a new partition has: as many as given, or as the newest has.
func spanOf(all []partition, rows int64) int64 {
	if rows == 0 && len(all) > 0 {
		newest := all[len(all)-1]
		return newest.high - newest.low
	}
	return cmp.Or(rows, DefaultPartitionRows)
}

// roomBehind returns how many ids behind the last one given out have a partition, and the range of the next one
// to make: behind these, wherever a sequence that was set by hand, forwards or backwards, has left a hole.
func roomBehind(all []partition, last, span int64) (room int64, next partition) {
	free, below, above := last+1, int64(1), int64(math.MaxInt64)
	for _, one := range all {
		if one.low > free {
			above = one.low
			break
		}
		below, free = one.high, max(free, one.high)
	}
	next.low = below + (free-below)/span*span
	next.high = min(next.low+span, above)
	return free - 1 - last, next
}

// wanted is how many events there must be room for.
func (p *Partitions) wanted(span int64) int64 {
	return max(PartitionsAhead*span, min(maxPartitionsAhead*span, int64(p.rate*roomFor.Seconds())))
}

// observe takes the rate at which ids are given out, over ten seconds at least.
func (p *Partitions) observe(last int64, now time.Time) {
	if took := now.Sub(p.at); !p.at.IsZero() {
		if took < 10*time.Second {
			return
		}
		p.rate = max(p.rate, float64(last-p.last)/took.Seconds())
	}
	p.last, p.at = last, now
}

// on runs do on a connection whose waits for locks are short.
func (p *Partitions) on(ctx context.Context, do func(*sql.Conn) error) error {
	conn, err := p.db.Conn(ctx)
	if err != nil {
		return wrap("connect to keep the partitions", err)
	}
	defer func() { _ = conn.Close() }()
	defer func() {
		reset, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_, _ = conn.ExecContext(reset, `RESET lock_timeout; RESET statement_timeout`)
	}()
	if _, err := conn.ExecContext(ctx, `SET lock_timeout = `+strconv.FormatInt(DefaultLockTimeout.Milliseconds(), 10)); err != nil {
		return wrap("bound the waits for locks", err)
	}
	return do(conn)
}
