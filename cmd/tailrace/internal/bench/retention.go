package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/lib/pq"

	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder"
)

// retentionMeasures compare the ways in which settled rows go. What ends kept rows later, a purge or a DROP of
// their partition, is not in it.
var retentionMeasures = []measure{
	{
		name: "retention", question: "forward a backlog and keep its rows, or delete them at once", baseline: "deleted at once",
		unit: ratio, target: atLeast(0.6), takes: 20 * time.Second, round: retentions,
	},
}

func retentions(ctx context.Context, b *bench) (outcome, error) {
	n := b.scaled(standardEvents, 100)
	all := []contender{
		{name: tailraceName + ", rows kept", n: n, do: b.forwardLeaving(ctx, n, n, nil)},
		{name: tailraceName + ", deleted at once", n: n, do: b.forwardLeaving(ctx, n, 0, func(c *forwarder.Config) { c.DeleteProcessed = true })},
		{name: tailraceName + ", kept in partitions", n: n, do: func(r *room) (cost, error) {
			if err := r.refurnish(ctx, outbox.MigrateConfig{Partitioned: true}); err != nil {
				return cost{}, err
			}
			return b.forwardLeaving(ctx, n, n, nil)(r)
		}},
	}
	if err := inTurn(ctx, b, 0, all); err != nil {
		return outcome{}, err
	}
	return rates(eventsPerSec, all...), nil
}

// forwardLeaving has ours forward a backlog of n, and makes sure that so many of its rows are left.
func (b *bench) forwardLeaving(ctx context.Context, n, left int, change func(*forwarder.Config)) func(*room) (cost, error) {
	return func(r *room) (cost, error) {
		if err := r.fill(ctx, n); err != nil {
			return cost{}, err
		}
		used, err := b.forward(ctx, r, n, change)
		if err != nil {
			return cost{}, err
		}
		var rows int
		if err := r.db.QueryRowContext(ctx, `SELECT count(*) FROM event_outbox`).Scan(&rows); err != nil {
			return cost{}, fmt.Errorf("%w", err)
		}
		if rows != left {
			return cost{}, fmt.Errorf("of %d settled rows %d are left and not %d: this is no measurement", n, rows, left)
		}
		return used, nil
	}
}

// refurnish makes the empty outbox of a room anew, in another way.
func (r *room) refurnish(ctx context.Context, config outbox.MigrateConfig) error {
	schema := pq.QuoteIdentifier(r.schema)
	if _, err := r.servers.admin.ExecContext(ctx, `DROP SCHEMA `+schema+` CASCADE; CREATE SCHEMA `+schema); err != nil {
		return fmt.Errorf("%w", err)
	}
	_, err := outbox.Migrate(ctx, r.db, config)
	return err
}
