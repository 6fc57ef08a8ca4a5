package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/tailrace-go/tailrace/internal/pgtable"
)

const (
	// purgeStep bounds one DELETE, so that it never holds many rows, nor a snapshot for long.
	purgeStep = 5000
	// purgePause lets others through between two steps.
	purgePause = 20 * time.Millisecond
)

// Run purges the inbox now and then until ctx ends, and then returns nil. A purge that fails is logged
// and tried again at the next interval. Any number of processes may run it on one table: one purges at a
// time, and the others pass.
func (x *Inbox) Run(ctx context.Context) error {
	for pgtable.Wait(ctx, x.config.PurgeInterval) == nil {
		purged, err := x.Purge(ctx)
		if purged > 0 {
			x.config.Logger.InfoContext(ctx, "purged inbox marks", "table", x.table.given(), "rows", purged, "older_than", x.config.Retention)
		}
		if err != nil && ctx.Err() == nil {
			x.config.Logger.WarnContext(ctx, "could not purge the inbox; trying again at the next interval", "table", x.table.given(), "error", err)
		}
	}
	return nil
}

// Purge deletes the marks that are older than the retention and returns how many it deleted. It works in
// steps of 5,000 rows, each a transaction of its own, oldest first, with pauses between them; what was
// deleted stays deleted when a later step fails or ctx ends. While another process purges the table it
// leaves the work to that one, and returns nil.
func (x *Inbox) Purge(ctx context.Context) (int64, error) {
	if x.config.Retention < 0 {
		return 0, nil
	}
	ctx = x.config.Bus.WithoutTx(ctx)
	var total int64
	for p := (purge{}); ; {
		deleted, err := x.purgeStep(ctx, &p)
		total += deleted
		x.metrics.purged.Add(float64(deleted))
		if err != nil {
			return total, pgtable.WithContext(ctx, fmt.Errorf("inbox: purge %s: %w", x.table.Quoted(), err))
		}
		if deleted < purgeStep {
			return total, nil
		}
		if err := pgtable.Wait(ctx, purgePause); err != nil {
			return total, fmt.Errorf("inbox: purge %s: %w", x.table.Quoted(), err)
		}
	}
}

// purge is how far the steps have come: each begins where the last one ended, or it would read the index
// entries of all rows deleted before it again, for as long as an old snapshot keeps them.
type purge struct{ from, to time.Time }

var errElsewhere = errors.New("another process purges the table")

func (x *Inbox) purgeStep(ctx context.Context, p *purge) (deleted int64, err error) {
	err = x.config.Bus.Transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var mine bool
		var now time.Time
		// The server's clock wrote the marks, so it also says how old they are.
		if err := tx.QueryRowContext(ctx, `SELECT pg_try_advisory_xact_lock($1), now()`, x.table.purgeKey()).Scan(&mine, &now); err != nil {
			return err
		}
		if !mine {
			return errElsewhere
		}
		if p.to.IsZero() {
			p.to = now.Add(-x.config.Retention)
		}
		var last sql.NullTime
		err := tx.QueryRowContext(ctx, `WITH gone AS (
				DELETE FROM `+x.table.Quoted()+` WHERE ctid = ANY(ARRAY(
					SELECT ctid FROM `+x.table.Quoted()+` WHERE handled_at >= $1 AND handled_at < $2 ORDER BY handled_at LIMIT $3))
				RETURNING handled_at)
			SELECT count(*), max(handled_at) FROM gone`, p.from, p.to, purgeStep).Scan(&deleted, &last)
		if last.Valid {
			p.from = last.Time
		}
		return err
	})
	if err != nil {
		deleted = 0
	}
	if errors.Is(err, errElsewhere) {
		err = nil
	}
	return deleted, err
}
