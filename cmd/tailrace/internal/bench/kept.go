package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

// keptRows is how many rows are kept with the standard backlog.
const keptRows = 10_000_000

// keptMeasures compare ours with itself where very many settled rows are kept.
var keptMeasures = []measure{
	{
		name: "kept-rows", question: "forward with 250 times the backlog kept as settled rows, which takes 4 GB of disk", baseline: "none kept",
		unit: ratio, target: atLeast(0.8), takes: 3 * time.Minute, named: true, stage: keptStage,
	},
}

// keptStep is how many of them a statement writes.
const keptStep = 1_000_000

// keptStage writes the rows once for all rounds.
func keptStage(ctx context.Context, b *bench) (_ *stage, err error) {
	r, err := b.room(ctx, 0)
	if err != nil {
		return nil, err
	}
	kept, err := b.keep(ctx, r, b.scaled(keptRows, 10_000))
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	n := b.scaled(standardEvents, 100)
	return &stage{
		round: func(ctx context.Context) (outcome, error) {
			all := []contender{
				{name: tailraceName + ", " + count(kept, "kept"), n: 2 * n, do: b.bursts(ctx, n)},
				{name: tailraceName + ", none kept", n: 2 * n, do: b.bursts(ctx, n)},
			}
			for _, next := range []func() error{
				func() error { return all[1].take(ctx, b, 0) },
				func() error { return all[0].takeIn(r) },
				func() error { return all[0].takeIn(r) },
				func() error { return all[1].take(ctx, b, 0) },
			} {
				if err := next(); err != nil {
					return outcome{}, err
				}
			}
			return rates(eventsPerSec, all...), nil
		},
		close: r.close,
	}, nil
}

// keep writes n rows as settled ones and returns how many there are then. Their payloads are short: what ours
// meets of them is their number, in the indexes and on its regular walk over the table.
func (b *bench) keep(ctx context.Context, r *room, n int) (kept int, err error) {
	start := time.Now()
	for from := 1; from <= n; from += keptStep {
		// As a UUIDv7, an event's id is greater than those before it.
		result, err := r.db.ExecContext(ctx, `INSERT INTO event_outbox (event_id, topic, payload, key, processed_at)
			SELECT '01981f00-0000-7000-8000-' || lpad(to_hex(i), 12, '0'), $1, 'kept', 'user', now() FROM generate_series($2::bigint, $3::bigint) i`,
			r.topic, from, min(n, from+keptStep-1))
		if err != nil {
			return 0, fmt.Errorf("fill the outbox: %w", err)
		}
		written, err := result.RowsAffected()
		if err != nil {
			return 0, fmt.Errorf("%w", err)
		}
		kept += int(written)
		b.progressf("kept-rows: %s written after %.0f s", count(kept, "rows"), time.Since(start).Seconds())
	}
	if err := r.vacuum(ctx, outbox.DefaultTable); err != nil {
		return 0, err
	}
	return kept, r.passed(ctx)
}
