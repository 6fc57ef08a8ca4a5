package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tailrace-go/tailrace/internal/pgtable"
)

// shape is what the catalogs say about an outbox table.
type shape struct {
	kind         string
	partitionKey string // "RANGE (id)"
	rows         int64
	columns      map[string]column
	sequences    []sequence
	indexes      []index
	state        bool
}

func (s shape) partitioned() bool { return s.kind == "p" }

type column struct {
	typ                 string
	notNull, hasDefault bool
}

type sequence struct {
	name, typ        string
	increment, cache int64
	cycle            bool
	last, max        int64
}

type index struct {
	name, constraint string
	// columns are the key columns, comma-separated; expressions are "".
	columns                string
	unique, valid, partial bool
	namesProcessed         bool
}

// resolve returns the table with its schema, and whether it exists.
func resolve(ctx context.Context, q pgtable.Querier, t table) (table, bool, error) {
	name, exists, err := t.Resolve(ctx, q)
	if err != nil {
		return t, false, fmt.Errorf("outbox: %w", err)
	}
	return table{name}, exists, nil
}

// checkServer refuses servers that cannot hold an outbox.
func checkServer(ctx context.Context, q pgtable.Querier) error {
	err := pgtable.CheckServer(ctx, q, ErrServer)
	if err != nil && !errors.Is(err, ErrServer) {
		return fmt.Errorf("outbox: %w", err)
	}
	return err
}

// inspect reads the shape of a table that [resolve] found.
func inspect(ctx context.Context, q pgtable.Querier, t table) (shape, error) {
	s := shape{columns: map[string]column{}}
	wrapped := func(err error) (shape, error) {
		return s, fmt.Errorf("outbox: read the catalog entry of %s: %w", t.quoted(), err)
	}
	name := t.quoted()
	// The rows of a partitioned table are those of its partitions.
	err := q.QueryRowContext(ctx, `SELECT relkind, coalesce(pg_get_partkeydef(oid), ''), to_regclass($2) IS NOT NULL,
			CASE relkind WHEN 'p' THEN (SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
				WHERE i.inhparent = pg_class.oid) ELSE greatest(reltuples, 0)::bigint END
		FROM pg_class WHERE oid = to_regclass($1)`,
		name, t.stateTable()).Scan(&s.kind, &s.partitionKey, &s.state, &s.rows)
	if errors.Is(err, sql.ErrNoRows) {
		return s, fmt.Errorf("%w: %s", ErrNoTable, name)
	}
	if err != nil {
		return wrapped(err)
	}
	err = each(ctx, q, `SELECT attname, coalesce(nullif(b.typname, ''), t.typname), attnotnull, atthasdef OR attidentity <> '' OR attgenerated <> ''
		FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON b.oid = nullif(t.typbasetype, 0)
		WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`,
		func(scan func(...any) error) error {
			var name string
			var c column
			err := scan(&name, &c.typ, &c.notNull, &c.hasDefault)
			s.columns[name] = c
			return err
		}, name)
	if err != nil {
		return wrapped(err)
	}
	// A serial's sequence is found through the default, an identity's through the column.
	err = each(ctx, q, `SELECT seqrelid::regclass::text, format_type(seqtypid, NULL), seqincrement, seqcache, seqcycle, seqmax,
			coalesce(pg_sequence_last_value(seqrelid), 0)
		FROM pg_sequence WHERE seqrelid IN (
			SELECT d.refobjid FROM pg_attrdef f JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
				JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass
				WHERE f.adrelid = to_regclass($1) AND a.attname = 'id'
			UNION SELECT d.objid FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
				WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'i'
				AND d.refobjid = to_regclass($1) AND a.attname = 'id')`,
		func(scan func(...any) error) error {
			var q sequence
			err := scan(&q.name, &q.typ, &q.increment, &q.cache, &q.cycle, &q.max, &q.last)
			s.sequences = append(s.sequences, q)
			return err
		}, name)
	if err != nil {
		return wrapped(err)
	}
	err = each(ctx, q, `SELECT c.relname, coalesce((SELECT conname FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('u', 'p') LIMIT 1), ''),
			(SELECT string_agg(coalesce(a.attname, ''), ',' ORDER BY k.n) FROM unnest(i.indkey) WITH ORDINALITY k(attnum, n)
				LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.n <= i.indnkeyatts),
			i.indisunique, i.indisvalid, i.indpred IS NOT NULL,
			pg_get_indexdef(i.indexrelid) LIKE '%processed_at%'
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = to_regclass($1) ORDER BY c.relname`,
		func(scan func(...any) error) error {
			var x index
			err := scan(&x.name, &x.constraint, &x.columns, &x.unique, &x.valid, &x.partial, &x.namesProcessed)
			s.indexes = append(s.indexes, x)
			return err
		}, name)
	if err != nil {
		return wrapped(err)
	}
	return s, nil
}

func each(ctx context.Context, q pgtable.Querier, query string, row func(scan func(...any) error) error, args ...any) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// contract is the columns every outbox table has had from the first, with the types that will do.
var contract = []struct {
	name, types, cure string
	filled            bool
}{
	{"id", "int4 int8", "bigint", false},
	{"event_id", "varchar text", "varchar(255)", false},
	{"topic", "varchar text", "varchar(255)", false},
	{"payload", "bytea", "bytea", false},
	{"key", "bytea", "bytea", false},
	{"created_at", "timestamptz", "timestamptz", true},
	{"processed_at", "timestamptz", "timestamptz", false},
	{"error_message", "text varchar", "text", false},
	{"retry_count", "int2 int4 int8", "integer", true},
	{"max_retries", "int2 int4 int8", "integer", true},
}

// added is the columns migrations add.
var added = []struct{ name, types, cure string }{
	{"headers", "json jsonb", "json"},
	{"next_attempt_at", "timestamptz", "timestamptz"},
}

// faults lists what no migration mends, each with its cure.
func (s shape) faults(t table) error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%w: "+format, append([]any{ErrShape}, args...)...))
	}
	if s.kind != "r" && s.kind != "p" {
		fault("%s is not a table: name the table itself", t.quoted())
		return errors.Join(faults...)
	}
	if s.partitioned() && s.partitionKey != "RANGE (id)" {
		fault("%s is partitioned by %s, which a row's id does not find: a partitioned outbox is made by `tailrace migrate --partitioned`, by RANGE (id)", t.quoted(), s.partitionKey)
		return errors.Join(faults...)
	}
	known := map[string]bool{}
	for _, want := range contract {
		known[want.name] = true
		have, ok := s.columns[want.name]
		switch {
		case !ok:
			fault("%s has no column %s: ALTER TABLE %s ADD COLUMN %s %s", t.quoted(), want.name, t.quoted(), want.name, want.cure)
		case !slices.Contains(strings.Fields(want.types), have.typ):
			fault("%s.%s is of type %s: ALTER TABLE %s ALTER COLUMN %s TYPE %s", t.quoted(), want.name, have.typ, t.quoted(), want.name, want.cure)
		case want.filled && have.notNull && !have.hasDefault:
			fault("%s.%s has no default: ALTER TABLE %s ALTER COLUMN %s SET DEFAULT …", t.quoted(), want.name, t.quoted(), want.name)
		}
	}
	for _, want := range added {
		known[want.name] = true
		if have, ok := s.columns[want.name]; ok && !slices.Contains(strings.Fields(want.types), have.typ) {
			fault("%s.%s is of type %s: ALTER TABLE %s ALTER COLUMN %s TYPE %s", t.quoted(), want.name, have.typ, t.quoted(), want.name, want.cure)
		}
	}
	for _, name := range sortedNames(s.columns) {
		if c := s.columns[name]; !known[name] && c.notNull && !c.hasDefault {
			fault("%s.%s is NOT NULL without a default, so that no publisher can write: give it a default", t.quoted(), name)
		}
	}
	if _, ok := s.columns["id"]; ok && len(s.sequences) == 0 {
		fault("%s.id takes its default from no sequence: ALTER TABLE %s ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY", t.quoted(), t.quoted())
	}
	for _, q := range s.sequences {
		if q.cache != 1 {
			fault("sequence %s has CACHE %d, so that ids do not follow the order of writing: ALTER SEQUENCE %s CACHE 1", q.name, q.cache, q.name)
		}
		if q.increment != 1 {
			fault("sequence %s has INCREMENT %d, so that missing ids cannot be told from late ones: ALTER SEQUENCE %s INCREMENT 1", q.name, q.increment, q.name)
		}
		if q.cycle {
			fault("sequence %s has CYCLE, so that ids would start over: ALTER SEQUENCE %s NO CYCLE", q.name, q.name)
		}
	}
	return errors.Join(faults...)
}

// pendingWork lists what a migration has still to do.
func (s shape) pendingWork(t table) []string {
	var work []string
	for _, want := range added {
		if _, ok := s.columns[want.name]; !ok {
			work = append(work, "column "+want.name)
		}
	}
	indexes := []string{t.uniqueIndex(), t.retryIndex()}
	if s.partitioned() {
		indexes = indexes[1:] // The first is each partition's own.
	}
	for _, name := range indexes {
		if !slices.ContainsFunc(s.indexes, func(x index) bool { return x.name == name && x.valid }) {
			work = append(work, "index "+name)
		}
	}
	if !s.state {
		work = append(work, "table "+t.stateTable())
	}
	return work
}

// eventIDOnly returns the unique indexes that allow an event id only once for all topics.
func (s shape) eventIDOnly() []index {
	return slices.DeleteFunc(slices.Clone(s.indexes), func(x index) bool {
		return !x.unique || x.partial || x.columns != "event_id"
	})
}

// narrow reports whether the id column or its sequence is less than 64 bits wide.
func (s shape) narrow() bool {
	return s.columns["id"].typ != "int8" || slices.ContainsFunc(s.sequences, func(q sequence) bool { return q.typ != "bigint" })
}

// slowIndexes names the indexes that keep settling from being a HOT update.
func (s shape) slowIndexes() []string {
	var names []string
	for _, x := range s.indexes {
		if x.namesProcessed {
			names = append(names, x.name)
		}
	}
	return names
}

func sortedNames(columns map[string]column) []string {
	names := make([]string, 0, len(columns))
	for name := range columns {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
