package outbox

import (
	"context"
	"database/sql"
	"strconv"
	"strings"

	"github.com/lib/pq"

	"github.com/tailrace-go/tailrace/internal/pgtable"
)

// Holders are the transactions that may still write rows with ids already given out, by their virtual
// transaction id, since a prepared transaction has no process; and the transaction id of each, 0 for one
// that has none yet. One that is prepared may get another virtual id and keeps its transaction id.
type Holders map[string]uint32

// Has reports whether any of them has that transaction id.
func (h Holders) Has(id uint32) bool {
	for _, held := range h {
		if held == id {
			return true
		}
	}
	return false
}

// Prepared reports whether a virtual transaction id is a prepared transaction's, and only that. A prepared
// transaction has such a one after a restart, and from its beginning with some versions of the server.
func Prepared(virtual string) bool { return strings.HasPrefix(virtual, "-1/") }

// Holders returns who holds RowExclusiveLock on the table, its partitions or its sequence.
func (c *Claim) Holders(ctx context.Context) (Holders, error) {
	return c.who(func() (*sql.Rows, error) { return c.holders.QueryContext(ctx) })
}

func (c *Claim) who(ask func() (*sql.Rows, error)) (Holders, error) {
	holders := Holders{}
	err := c.do("read who writes to the outbox", func() error {
		rows, err := ask()
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var virtual, ids string
			if err := rows.Scan(&virtual, &ids); err != nil {
				return err
			}
			holders[virtual] = lowestID(ids)
		}
		return rows.Err()
	})
	return holders, err
}

// lowestID is the first in age of transaction ids, which are a transaction's and its savepoints' and come
// with a space between. They go round at 2^32.
func lowestID(ids string) uint32 {
	var lowest uint32
	for text := range strings.FieldsSeq(ids) {
		id, err := strconv.ParseUint(text, 10, 32)
		if err == nil && (lowest == 0 || int32(uint32(id)-lowest) < 0) { //nolint:gosec // as meant
			lowest = uint32(id)
		}
	}
	return lowest
}

// holdersQuery finds the transactions that hold RowExclusiveLock on any of the tables, their partitions or
// their sequences, and the transaction ids of each.
func holdersQuery(tables ...table) string {
	relations := make([]string, len(tables))
	for i, t := range tables {
		name := pgtable.QuoteLiteral(t.quoted())
		regclass := name + `::regclass`
		relations[i] = `SELECT ` + regclass + `::oid
			UNION ALL SELECT relid::oid FROM pg_partition_tree(` + regclass + `)
			UNION ALL SELECT pg_get_serial_sequence(` + name + `, 'id')::regclass::oid
			UNION ALL SELECT d.refobjid FROM pg_attrdef a JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid
				JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S' WHERE a.adrelid = ` + regclass
	}
	return `SELECT virtualtransaction, coalesce(string_agg(transactionid::text, ' ') FILTER (WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted), '')
		FROM pg_locks WHERE pid IS DISTINCT FROM pg_backend_pid() AND locktype IN ('relation', 'transactionid')
		GROUP BY virtualtransaction HAVING bool_or(locktype = 'relation' AND mode = 'RowExclusiveLock'
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
			AND relation IN (` + strings.Join(relations, ` UNION ALL `) + `))`
}

// Running tells which transactions had not ended yet at some time.
type Running struct {
	// Next and all younger transactions had not begun.
	Next uint32
	// IDs are those that had begun and not ended.
	IDs map[uint32]struct{}
}

// Has reports whether the transaction with that id had not ended: what it wrote could not be seen.
func (r Running) Has(id uint32) bool {
	if int32(id-r.Next) >= 0 { //nolint:gosec // ids go round at 2^32
		return true
	}
	_, running := r.IDs[id]
	return running
}

// Running returns which transactions have not ended as far as a statement now sees. Unlike the locks of
// [Claim.Holders], which a transaction releases some time after others see what it wrote, this is exact.
func (c *Claim) Running(ctx context.Context) (running Running, err error) {
	err = c.do("read which transactions run", func() error {
		var snapshot string
		if err := c.running.QueryRowContext(ctx).Scan(&snapshot); err != nil {
			return err
		}
		running = parseSnapshot(snapshot)
		return nil
	})
	return running, err
}

// rolledBackQuery completes transaction ids by the epoch that is missing in them: they had begun.
const rolledBackQuery = `SELECT id FROM unnest($1::bigint[]) AS id, CAST(pg_snapshot_xmax(pg_current_snapshot())::text AS bigint) AS next
	WHERE pg_xact_status(CAST((next - ((next - id) & 4294967295))::text AS xid8)) = 'aborted'`

// RolledBack returns which of transactions that have ended wrote nothing that will ever be seen.
func (c *Claim) RolledBack(ctx context.Context, ids []uint32) (gone map[uint32]struct{}, err error) {
	err = c.do("read which transactions rolled back", func() error {
		wide := make(pq.Int64Array, len(ids))
		for i, id := range ids {
			wide[i] = int64(id)
		}
		rows, err := c.rolledBack.QueryContext(ctx, wide)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		gone = map[uint32]struct{}{}
		for rows.Next() {
			var id int64
			if err := rows.Scan(&id); err != nil {
				return err
			}
			gone[uint32(id)] = struct{}{} //nolint:gosec // as given
		}
		return rows.Err()
	})
	return gone, err
}

// parseSnapshot reads a pg_snapshot, xmin:xmax:xip,xip (PostgreSQL manual, 9.26.8), whose 64-bit ids have the
// 32 bits that locks tell below an epoch.
func parseSnapshot(text string) Running {
	short := func(text string) uint32 {
		id, _ := strconv.ParseUint(text, 10, 64)
		return uint32(id) //nolint:gosec // as meant
	}
	_, text, _ = strings.Cut(text, ":")
	next, list, _ := strings.Cut(text, ":")
	r := Running{Next: short(next), IDs: map[uint32]struct{}{}}
	for id := range strings.SplitSeq(list, ",") {
		if id != "" {
			r.IDs[short(id)] = struct{}{}
		}
	}
	return r
}
