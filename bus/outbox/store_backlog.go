package outbox

import (
	"context"
	"database/sql"
	"time"
)

// Backlog is what waits in an outbox behind the place up to which it was read.
type Backlog struct {
	// Pending is how many rows wait there. Up to [BacklogExact] rows they are counted; of more, the rest is
	// estimated from the ids given out, as if as large a share of them were pending.
	Pending int64
	// Oldest is the age of the oldest of them that was looked at, or of the row that was asked for if that
	// is older; 0 if there is neither.
	Oldest time.Duration
}

// BacklogExact is how many rows [Store.Backlog] looks at.
const BacklogExact = 10_000

func backlogQuery(name string) string {
	return `WITH ahead AS (SELECT id, created_at, processed_at IS NULL AND retry_count < max_retries AS pending
			FROM ` + name + ` WHERE id > $1 ORDER BY id LIMIT $2)
		SELECT count(*), count(*) FILTER (WHERE pending), coalesce((SELECT max(id) FROM ` + name + `) - max(id), 0),
			date_part('epoch', now() - least(min(created_at) FILTER (WHERE pending AND ` + plausible + `),
				(SELECT created_at FROM ` + name + ` WHERE id = $3 AND ` + plausible + `))) FROM ahead`
}

// Backlog says how much waits above an id, and how old the oldest of it is; in hand, if not 0, is a row
// below, whose age counts, too. It looks at [BacklogExact] rows at most, by primary key, whatever the
// size of the table: a few milliseconds.
func (s *Store) Backlog(ctx context.Context, above, inHand int64) (Backlog, error) {
	var looked, pending, beyond int64
	var oldest sql.NullFloat64
	err := s.db.QueryRowContext(ctx, s.backlog, above, BacklogExact, inHand).Scan(&looked, &pending, &beyond, &oldest)
	if err != nil {
		return Backlog{}, wrap("look at the backlog", err)
	}
	b := Backlog{Pending: pending, Oldest: max(0, time.Duration(oldest.Float64*float64(time.Second)))}
	if looked == BacklogExact {
		b.Pending += int64(float64(beyond) * float64(pending) / float64(looked))
	}
	return b, nil
}
