package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// openGaps is how many ids a second writer holds with the standard backlog, none beside another.
const openGaps = 100_000

// gapMeasures compare ours with itself while it waits for very many ids that were given out and not seen yet.
var gapMeasures = []measure{
	{
		name: "gaps", question: "forward beside a bulk writer that holds every other id, until it commits", baseline: "no gaps",
		unit: ratio, target: atLeast(0.5), limits: []limit{{sinceEnded, ratio, atLeast(0.9)}}, takes: 45 * time.Second,
		round: func(ctx context.Context, b *bench) (outcome, error) { return b.withGaps(ctx, (*gapRoom).committed) },
	},
	{
		name: "gaps-rolled-back", question: "forward as a bulk writer that holds every other id rolls back", baseline: "no gaps",
		unit: ratio, target: atLeast(0.5), limits: []limit{{sinceEnded, ratio, atLeast(0.9)}}, takes: 45 * time.Second,
		round: func(ctx context.Context, b *bench) (outcome, error) { return b.withGaps(ctx, (*gapRoom).rolledBack) },
	},
}

const sinceEnded = "after the gaps / no gaps"

// gapRoom is where ours runs while two bulk writers take ids in turn.
type gapRoom struct {
	*running

	// plain is ours in another room, where nobody makes gaps.
	plain   *running
	n, gaps int
	second  *sql.Tx
	// with are bursts beside the gaps, without those in the plain room between them; ended are those after the
	// gaps, and control those in the plain room between these. First are the rows of the writer that commits
	// first, late those of the one that commits after it.
	with, without, ended, control, first, late contender
}

func (b *bench) withGaps(ctx context.Context, end func(*gapRoom, context.Context) error) (_ outcome, err error) {
	var rooms [2]*running
	for i := range rooms {
		r, err := b.room(ctx, 0)
		if err != nil {
			return outcome{}, err
		}
		defer func() { err = errors.Join(err, r.close()) }()
		if rooms[i], err = b.start(ctx, r); err != nil {
			return outcome{}, err
		}
	}
	g := &gapRoom{running: rooms[0], plain: rooms[1], n: b.scaled(standardEvents, 100), gaps: b.scaled(openGaps, 500)}
	g.with, g.without, g.ended = contender{name: tailraceName + ", " + count(g.gaps, "gaps")}, contender{name: tailraceName + ", no gaps"}, contender{name: tailraceName + ", after the gaps"}
	g.first, g.late = contender{name: "the first writer's rows"}, contender{name: "the second writer's rows"}
	if err := errors.Join(g.play(ctx, end), g.close(ctx), g.plain.close(ctx)); err != nil {
		return outcome{}, err
	}
	all := []contender{g.with, g.without, g.ended, g.first}
	if g.late.gone > 0 {
		all = append(all, g.late)
	}
	o := rates(eventsPerSec, all...)
	o.figures = append(o.figures, figure{sinceEnded, ratio, g.ended.rate() / g.control.rate()})
	return o, nil
}

// play has the two writers take ids, and ours forward meanwhile, until the second has ended and after.
func (g *gapRoom) play(ctx context.Context, end func(*gapRoom, context.Context) error) error {
	if err := errors.Join(g.own(ctx), g.plain.own(ctx)); err != nil {
		return err
	}
	defer func() {
		if g.second != nil {
			_ = g.second.Rollback()
		}
	}()
	if err := g.interleave(ctx); err != nil {
		return err
	}
	if err := end(g, ctx); err != nil {
		return err
	}
	if err := g.until(ctx, func() bool { return g.metric("gaps") == 0 }); err != nil {
		return err
	}
	return g.bursts(ctx, &g.ended, &g.control)
}

// bursts has bursts here and in the plain room in turn.
func (g *gapRoom) bursts(ctx context.Context, here, there *contender) error {
	for i := range 4 {
		c, w := here, g.running
		if i%4 == 0 || i%4 == 3 {
			c, w = there, g.plain
		}
		if err := c.count(g.n, func() (cost, error) { return w.burst(ctx, g.n, nil) }); err != nil {
			return err
		}
	}
	return nil
}

// interleave has two writers take ids in turn and the first commit: between its rows are the gaps.
func (g *gapRoom) interleave(ctx context.Context) (err error) {
	var from int64
	// What one writer after the other would take from the sequence, row by row.
	if err := g.db.QueryRowContext(ctx, `SELECT setval('event_outbox_id_seq', nextval('event_outbox_id_seq') + $1) - $1`, 2*g.gaps).Scan(&from); err != nil {
		return fmt.Errorf("%w", err)
	}
	if g.second, err = g.db.BeginTx(ctx, nil); err != nil {
		return fmt.Errorf("%w", err)
	}
	if err := g.addAt(ctx, g.second, fmt.Sprintf(`%d + 2 * i::bigint - 1`, from), g.gaps); err != nil {
		return err
	}
	g.written -= g.gaps // not to be seen yet
	first, err := g.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("%w", err)
	}
	defer func() { _ = first.Rollback() }()
	if err := g.addAt(ctx, first, fmt.Sprintf(`%d + 2 * i::bigint`, from), g.gaps); err != nil {
		return err
	}
	err = g.first.count(g.gaps, func() (cost, error) {
		return g.bench.ours(func() error { return errors.Join(first.Commit(), g.settle(ctx)) })
	})
	if err != nil {
		return err
	}
	if seen := int(g.metric("gaps")); seen < g.gaps {
		return fmt.Errorf("of %d gaps the forwarder sees %d: this is no measurement", g.gaps, seen)
	}
	return nil
}

// committed: the rows come late, while nothing else does.
func (g *gapRoom) committed(ctx context.Context) error {
	if err := g.bursts(ctx, &g.with, &g.without); err != nil {
		return err
	}
	return g.late.count(g.gaps, func() (cost, error) {
		return g.bench.ours(func() error {
			g.written += g.gaps
			return errors.Join(g.second.Commit(), g.settle(ctx))
		})
	})
}

// rolledBack: the rows never come, which ours has to find out while others do.
func (g *gapRoom) rolledBack(ctx context.Context) error {
	plain := func() (cost, error) { return g.plain.burst(ctx, g.n, nil) }
	if err := g.without.count(g.n, plain); err != nil {
		return err
	}
	if err := g.with.count(g.n, func() (cost, error) { return g.burst(ctx, g.n, g.second.Rollback) }); err != nil {
		return err
	}
	return g.without.count(g.n, plain)
}
