package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/tailrace-go/tailrace/internal/pgtable"
)

const (
	// keptFor is how long a partition with unprocessed rows is not looked at again.
	keptFor = 10 * time.Minute
	// detachWait bounds a wait for the transactions that still see a partition; what is left is done at the
	// next call.
	detachWait = 20 * time.Second
)

// Drop drops the partitions that the owner is through with (every id at or below lowWater is settled) and
// whose rows were all processed longer than keep ago, or deleted. It returns how many it dropped, and
// the ranges of ids of those that are past their time but hold a row that is pending or dead: those stay,
// and their processed rows are for [Store.Purge].
//
// A partition is detached first, which waits for the transactions that see it but stops none, and looked
// at again when nobody can reach it, so that a row that was made pending meanwhile is not lost: its
// partition is attached again. What a crash interrupts, the next call finishes.
func (p *Partitions) Drop(ctx context.Context, lowWater int64, keep time.Duration) (dropped int, held []Range, err error) {
	err = p.on(ctx, func(conn *sql.Conn) error {
		if dropped, err = p.finish(ctx, conn); err != nil {
			return err
		}
		all, err := p.table.partitions(ctx, conn)
		if err != nil {
			return err
		}
		last, err := p.table.issued(ctx, conn)
		if err != nil {
			return wrap("read the sequence", err)
		}
		for _, one := range all {
			if one.high > min(lowWater, last) {
				break
			}
			old, whole, err := p.look(ctx, conn, one, keep)
			if err != nil {
				return err
			}
			if !old {
				break
			}
			if !whole {
				held = append(held, Range{one.low, one.high - 1})
				continue
			}
			gone, err := p.drop(ctx, conn, one)
			if err != nil {
				return err
			}
			if gone {
				dropped++
			}
		}
		return nil
	})
	return dropped, held, err
}

// look reports whether a partition's newest row is past its time, and whether all its rows are processed
// that long. Only a partition that is past its time is read, and one that is kept only now and then.
func (p *Partitions) look(ctx context.Context, conn *sql.Conn, one partition, keep time.Duration) (old, whole bool, err error) {
	name := one.name.quoted()
	const past = `processed_at < now() - $1 * interval '1 microsecond'`
	err = conn.QueryRowContext(ctx, `SELECT coalesce((SELECT processed_at IS NULL OR `+past+` FROM `+name+` ORDER BY id DESC LIMIT 1), true)`,
		keep.Microseconds()).Scan(&old)
	if err != nil || !old {
		return old, false, wrap("look at the end of "+name, err)
	}
	if time.Now().Before(p.kept[name]) {
		return true, false, nil
	}
	var young bool
	err = conn.QueryRowContext(ctx, `SELECT count(*) FILTER (WHERE processed_at IS NULL) = 0, coalesce(bool_or(processed_at >= now() - $1 * interval '1 microsecond'), false) FROM `+name,
		keep.Microseconds()).Scan(&whole, &young)
	if err != nil {
		return true, false, wrap("look at "+name, err)
	}
	if !whole {
		p.kept[name] = time.Now().Add(keptFor)
	}
	return !young || !whole, whole && !young, nil
}

// drop detaches a partition and drops it.
func (p *Partitions) drop(ctx context.Context, conn *sql.Conn, one partition) (bool, error) {
	if err := p.detach(ctx, conn, one, `CONCURRENTLY`); err != nil {
		return false, err
	}
	return p.dropDetached(ctx, conn, one)
}

// detach waits for whoever sees the partition for as long as detachWait.
func (p *Partitions) detach(ctx context.Context, conn *sql.Conn, one partition, how string) error {
	// Who waits for an exclusive lock here stops nobody: the partition is out of sight already.
	if _, err := conn.ExecContext(ctx, fmt.Sprintf(`SET lock_timeout = 0; SET statement_timeout = %d`, detachWait.Milliseconds())); err != nil {
		return wrap("bound a wait", err)
	}
	_, err := conn.ExecContext(ctx, `ALTER TABLE `+p.table.quoted()+` DETACH PARTITION `+one.name.quoted()+` `+how)
	if _, again := conn.ExecContext(ctx, fmt.Sprintf(`SET lock_timeout = %d; SET statement_timeout = 0`, DefaultLockTimeout.Milliseconds())); err == nil {
		err = again
	}
	if err != nil {
		return fmt.Errorf("outbox: detach %s: it is done at the next try: %w", one.name.quoted(), err)
	}
	return nil
}

// dropDetached drops a table that was a partition, unless a row in it waits again.
func (p *Partitions) dropDetached(ctx context.Context, conn *sql.Conn, one partition) (dropped bool, err error) {
	name := one.name.quoted()
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return false, wrap("drop "+name, err)
	}
	defer func() { _ = tx.Rollback() }()
	var waits bool
	if _, err = tx.ExecContext(ctx, `LOCK TABLE `+name+` IN ACCESS EXCLUSIVE MODE`); err == nil {
		err = tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM `+name+` WHERE processed_at IS NULL)`).Scan(&waits)
	}
	if err != nil {
		return false, wrap("look at "+name+" before it is dropped", err)
	}
	last := `DROP TABLE ` + name
	if waits {
		p.kept[name] = time.Now().Add(keptFor)
		last = fmt.Sprintf(`ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%d) TO (%d)`, p.table.quoted(), name, one.low, one.high)
	}
	if _, err := tx.ExecContext(ctx, last); err != nil {
		return false, wrap("drop "+name, err)
	}
	return !waits, wrap("drop "+name, tx.Commit())
}

// finish ends what an earlier call began.
func (p *Partitions) finish(ctx context.Context, conn *sql.Conn) (dropped int, err error) {
	all, err := p.table.partitions(ctx, conn)
	if err != nil {
		return 0, err
	}
	for _, one := range all {
		if one.detaching {
			if err := p.detach(ctx, conn, one, `FINALIZE`); err != nil {
				return 0, err
			}
		}
	}
	detached, err := p.detached(ctx, conn)
	if err != nil {
		return 0, err
	}
	for _, one := range detached {
		gone, err := p.dropDetached(ctx, conn, one)
		if err != nil {
			return dropped, err
		}
		if gone {
			dropped++
		}
	}
	return dropped, nil
}

// detached lists the tables that were partitions, by the comment that they have had from the start.
func (p *Partitions) detached(ctx context.Context, q pgtable.Querier) ([]partition, error) {
	var all []partition
	err := each(ctx, q, `SELECT n.nspname, c.relname, obj_description(c.oid, 'pg_class') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind = 'r' AND NOT c.relispartition AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass($1))
			AND starts_with(c.relname, $2) AND obj_description(c.oid, 'pg_class') LIKE 'ids % to % of %'`,
		func(scan func(...any) error) error {
			var one partition
			var mark string
			if err := scan(&one.name.Schema, &one.name.Base, &mark); err != nil {
				return err
			}
			var last int64
			if _, err := fmt.Sscanf(mark, "ids %d to %d of ", &one.low, &last); err != nil {
				return nil //nolint:nilerr // Somebody else's table.
			}
			one.high = last + 1
			if mark == p.table.partitionMark(one.low, one.high) && one.name == p.table.partitionName(one.low) {
				all = append(all, one)
			}
			return nil
		}, p.table.quoted(), p.table.Base+"_p")
	if err != nil {
		return nil, fmt.Errorf("outbox: list what was detached from %s: %w", p.table.quoted(), err)
	}
	return all, nil
}

// noPartition reports whether an INSERT failed since no partition takes its id.
func noPartition(err error) bool {
	return pgtable.SQLState(err) == "23514" && strings.Contains(err.Error(), "partition")
}
