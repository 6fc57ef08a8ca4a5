package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tailrace-go/tailrace/internal/pgtable"
)

// MaxShards is how many shards an outbox may have.
const MaxShards = 64

// ErrSharded: the outbox has several shards, and what was asked for works on one table.
var ErrSharded = errors.New("outbox: the outbox is sharded")

// Shard is one table of an outbox that was split. It is an outbox of its own: with a sequence, a state
// table, a lock and an owner.
type Shard struct {
	// Number counts from 0, the table that the outbox is named by.
	Number int
	// Table is its name, as [NewStore] and a forwarder take it.
	Table string
	// Added is when the shard was added, zero for a table that was never split.
	Added time.Time
	// Opened is when its events could first be forwarded, zero for a new shard whose owner waits for the
	// older ones; see [Claim.Open].
	Opened time.Time
}

// Open reports whether the shard's events may be forwarded.
func (s Shard) Open() bool { return s.Added.IsZero() || !s.Opened.IsZero() }

// Shards returns the tables of an outbox, in order; of one that was not split, the table itself. Empty means
// [DefaultTable]. It does not ask whether the tables are there, which is [Check]'s matter.
func Shards(ctx context.Context, db *sql.DB, tableName string) ([]Shard, error) {
	t, err := parseTable(tableName)
	if err != nil {
		return nil, err
	}
	shards, err := shardsOf(ctx, db, t)
	if err == nil && len(shards) == 0 {
		shards = []Shard{{Table: t.name()}}
	}
	return shards, err
}

// shardsOf returns the shards that an outbox has been given, none if it was never split.
func shardsOf(ctx context.Context, q pgtable.Querier, t table) ([]Shard, error) {
	wrapped := func(err error) ([]Shard, error) {
		return nil, fmt.Errorf("outbox: read the shards of %s: %w", t.quoted(), err)
	}
	var split bool
	if err := q.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, t.shardsTable()).Scan(&split); err != nil {
		return wrapped(err)
	}
	if !split {
		return nil, nil
	}
	var shards []Shard
	err := each(ctx, q, `SELECT shard, added_at, opened_at FROM `+t.shardsTable()+` ORDER BY shard`, func(scan func(...any) error) error {
		var s Shard
		var opened sql.NullTime
		err := scan(&s.Number, &s.Added, &opened)
		s.Table, s.Opened = t.shard(s.Number).name(), opened.Time
		shards = append(shards, s)
		return err
	})
	if err != nil {
		return wrapped(err)
	}
	return shards, nil
}

// refuseShards returns [ErrSharded] for a table that is one of several.
func refuseShards(ctx context.Context, q pgtable.Querier, t table) error {
	base, _, _ := t.asShard()
	shards, err := shardsOf(ctx, q, base)
	if err != nil || len(shards) < 2 {
		return err
	}
	return fmt.Errorf("%w: %s has %d shards, and this reads one table by itself: forward it with `tailrace forward` and its pipeline engine, or a forwarder.Group", ErrSharded, base.quoted(), len(shards))
}

// maxShardedName is how long the name of a table may be that is split.
const maxShardedName = maxPartitionedName - len("_shard_63")

// checkShards says whether a table may be split into so many.
func checkShards(t table, shards int) error {
	var faults []error
	if shards < 0 || shards > MaxShards {
		faults = append(faults, fmt.Errorf("outbox: %d shards: 1 to %d are possible, or 0 for a table that is not split", shards, MaxShards))
	}
	if len(t.Base) > maxShardedName {
		faults = append(faults, fmt.Errorf("outbox: the table name %q has %d bytes, at most %d are possible for one that is split", t.Base, len(t.Base), maxShardedName))
	}
	return errors.Join(faults...)
}

// shard returns the name of one of the table's shards.
func (t table) shard(n int) table {
	if n > 0 {
		t.Base += shardSuffix + strconv.Itoa(n)
	}
	return t
}

const shardSuffix = "_shard_"

// asShard returns the outbox that a table is a shard of by its name, and which; otherwise the table itself, 0
// and false.
func (t table) asShard() (table, int, bool) {
	at := strings.LastIndex(t.Base, shardSuffix)
	if at <= 0 {
		return t, 0, false
	}
	digits := t.Base[at+len(shardSuffix):]
	n, err := strconv.Atoi(digits)
	if err != nil || n < 1 || n >= MaxShards || strconv.Itoa(n) != digits {
		return t, 0, false
	}
	t.Base = t.Base[:at]
	return t, n, true
}

// shardsTable returns the name of the table of the outbox's shards, shardCount that of the sequence whose
// value is how many of them the writers use.
func (t table) shardsTable() string { return t.Sibling("_shards") }
func (t table) shardCount() string  { return t.Sibling("_shard_count") }

// name returns the name as [parseTable] takes it.
func (t table) name() string {
	if t.Schema == "" {
		return t.Base
	}
	return t.Schema + "." + t.Base
}
