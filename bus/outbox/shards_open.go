package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"

	"github.com/lib/pq"
)

// opening is the wait of a new shard's owner until all that was written of its keys elsewhere is delivered.
// A key moves between tables, each with an order of its own: without the wait, its next event, in the new
// shard, could be sent before its last one in the old. Nothing of it is kept: an owner that dies leaves it
// to the next one, from the start.
type opening struct {
	base  table
	shard int
	older []older // the shards before it, nil before the first look
	// looked says that writers holds who went by the old number of shards, as far as they have not ended;
	// issued that they have.
	looked, issued bool
	writers        Holders
	open           bool
}

// older is a shard that keys move away from.
type older struct {
	table table
	// at is how far it was looked through, upTo the last id given out before the new number was known to all.
	at, upTo int64
}

// How many rows of an older shard the first statement of a call looks at, in vain when the first of them
// still waits, and how many the others look at most.
const openFirst, openMost = 16, 5000

// Open is for the owner to call, before [Claim.Start], until it reports true: the shard's events may be
// forwarded. Of a table that is not a further shard of an outbox, or has been opened before, they may at once. A
// new shard is opened once
//
//   - the writers use it;
//   - the transactions have ended that wrote to an older shard before that was known to all;
//   - no event is pending in an older shard, of those written until then, whose key moves to this one. Dead
//     ones do not count, nor those without a key.
//
// Until then waits says for what. Each call is a few short statements, and a heartbeat; after an error the
// claim is gone.
func (c *Claim) Open(ctx context.Context) (open bool, waits string, err error) {
	if c.opening == nil {
		base, shard, named := c.store.table.asShard()
		c.opening = &opening{base: base, shard: shard, open: !named}
	}
	o := c.opening
	if o.open {
		return true, "", nil
	}
	if o.older == nil {
		if waits, err := c.registered(ctx); o.open || waits != "" || err != nil {
			return o.open, waits, err
		}
	}
	if !o.issued {
		if waits, err := c.outlast(ctx); waits != "" || err != nil {
			return false, waits, err
		}
	}
	for i := range o.older {
		if waits, err := c.lookThrough(ctx, &o.older[i]); waits != "" || err != nil {
			return false, waits, err
		}
	}
	upTo := make(pq.Int64Array, len(o.older))
	for i, from := range o.older {
		upTo[i] = from.upTo
	}
	err = c.do("open the shard", func() error {
		_, err := c.conn.ExecContext(ctx, `UPDATE `+o.base.shardsTable()+` SET opened_at = now(), opened_after = $2 WHERE shard = $1 AND opened_at IS NULL`, o.shard, upTo)
		return err
	})
	o.open = err == nil
	return o.open, "", err
}

// registered finds out whether the table is a shard, and one that the writers use.
func (c *Claim) registered(ctx context.Context) (waits string, err error) {
	o := c.opening
	var split, known, opened bool
	var inUse int
	err = c.do("look for the shard", func() error {
		err := c.conn.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, o.base.shardsTable()).Scan(&split)
		if err != nil || !split {
			return err
		}
		err = c.conn.QueryRowContext(ctx, `SELECT opened_at IS NOT NULL, (SELECT last_value FROM `+o.base.shardCount()+`)
			FROM `+o.base.shardsTable()+` WHERE shard = $1`, o.shard).Scan(&opened, &inUse)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		known = true
		return err
	})
	switch {
	case err != nil:
	case !split || opened:
		o.open = true // a table that is named like a shard, or one that was opened before
	case !known || inUse <= o.shard:
		waits = fmt.Sprintf("the writers do not use the shard yet: finish `tailrace migrate --shards %d`", o.shard+1)
	default:
		o.older = make([]older, o.shard)
		for i := range o.older {
			o.older[i].table = o.base.shard(i)
		}
	}
	return waits, err
}

// outlast waits for the transactions that wrote to an older shard when the new number was there already: any of
// them may have gone by the old one. Those that begin later do not.
func (c *Claim) outlast(ctx context.Context) (waits string, err error) {
	o := c.opening
	tables := make([]table, len(o.older))
	for i, from := range o.older {
		tables[i] = from.table
	}
	now, err := c.who(func() (*sql.Rows, error) { return c.conn.QueryContext(ctx, holdersQuery(tables...)) })
	if err != nil {
		return "", err
	}
	if o.looked {
		maps.DeleteFunc(now, func(writer string, _ uint32) bool {
			_, earlier := o.writers[writer]
			return !earlier && !Prepared(writer) // PREPARE TRANSACTION gives a writer a new name
		})
	}
	o.writers, o.looked = now, true
	if len(now) > 0 {
		return fmt.Sprintf("%d transactions that wrote to the older shards are still open", len(now)), nil
	}
	for i := range o.older {
		from := &o.older[i]
		if from.upTo, err = c.issued(ctx, from.table); err != nil {
			return "", err
		}
		err = c.do("read the low-water mark", func() error {
			err := c.conn.QueryRowContext(ctx, `SELECT low_water FROM `+from.table.stateTable()+` WHERE id = 1`).Scan(&from.at)
			if errors.Is(err, sql.ErrNoRows) {
				return nil
			}
			return err
		})
		if err != nil {
			return "", err
		}
		from.at = min(from.at, from.upTo)
	}
	o.issued = true
	return "", nil
}

// lookThrough goes on over the older shard's rows and stops before one that is pending and moves here. What
// was passed stays passed: rows up to upTo can no longer appear, and one that an operator makes pending
// again is late anyway.
func (c *Claim) lookThrough(ctx context.Context, from *older) (waits string, err error) {
	for limit := openFirst; from.at < from.upTo; limit = min(4*limit, openMost) {
		seen := 0
		err := c.do("look for events that move", func() error {
			return each(ctx, c.conn, `SELECT id, CASE WHEN processed_at IS NULL AND retry_count < max_retries THEN key END FROM `+from.table.quoted()+`
				WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3`, func(scan func(...any) error) error {
				var id int64
				var key sql.RawBytes
				if err := scan(&id, &key); err != nil {
					return err
				}
				seen++
				switch {
				case waits != "":
				case len(key) > 0 && moves(key, c.opening.shard):
					waits = fmt.Sprintf("row %d of %s is of a key that moves to this shard, and not delivered yet", id, from.table.quoted())
				default:
					from.at = id
				}
				return nil
			}, from.at, from.upTo, limit)
		})
		if waits != "" || err != nil {
			return waits, err
		}
		if seen < limit {
			from.at = from.upTo
		}
	}
	return "", nil
}
