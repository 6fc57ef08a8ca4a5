package outbox

import (
	"context"
	"database/sql"
)

// Moved knows which keys have left a shard for good. The zero value knows of none.
type Moved struct {
	// shards is one more than the highest shard that is open.
	shards int
	// after has, for each newer shard that is open, the last id that a key of it can have here.
	after map[int]int64
}

// Moved returns which keys have left this table for a newer shard.
func (c *Claim) Moved(ctx context.Context) (m Moved, err error) {
	base, shard, _ := c.store.table.asShard()
	err = c.do("look for newer shards", func() error {
		var split bool
		if err := c.conn.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, base.shardsTable()).Scan(&split); err != nil || !split {
			return err
		}
		m.after = map[int]int64{}
		return each(ctx, c.conn, `SELECT shard, opened_after[$1 + 1] FROM `+base.shardsTable()+` WHERE shard > $1 AND opened_at IS NOT NULL ORDER BY shard`,
			func(scan func(...any) error) error {
				var newer int
				var after sql.NullInt64
				err := scan(&newer, &after)
				if after.Valid {
					m.after[newer], m.shards = after.Int64, newer+1
				}
				return err
			}, shard)
	})
	return m, err
}

// Stray reports whether a row was written here although its key had moved away: by somebody who does not choose
// among the shards. It is delivered, but its order among the events of its key is chance.
func (m Moved) Stray(row *Row) bool {
	if len(m.after) == 0 || len(row.Key) == 0 {
		return false
	}
	// The shard itself, and those before it, are not among the newer ones.
	after, moved := m.after[ShardOf(row.Key, m.shards)]
	return moved && row.ID > after
}
