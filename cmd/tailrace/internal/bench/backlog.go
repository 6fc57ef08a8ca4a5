package bench

import (
	"context"
	"time"
)

const (
	watermillChain = "Watermill's own chain"
	loopUpdate     = "bare loop, UPDATE"
	loopDelete     = "bare loop, DELETE"
)

// slow is a broker across a network, with a replica to wait for.
const slow = 2 * time.Millisecond

// backlogMeasures forward a backlog that is there.
var backlogMeasures = []measure{
	{
		name: "backlog-2ms", question: "forward a backlog, the broker takes 2 ms", baseline: watermillChain,
		unit: ratio, target: atLeast(250), takes: 30 * time.Second, embedded: true, round: againstWatermill(slow, 1500),
	},
	{
		name: "backlog", question: "forward a backlog, the broker answers at once", baseline: watermillChain,
		unit: ratio, target: atLeast(20), takes: 45 * time.Second, round: againstWatermill(0, 10_000),
	},
	{
		name: "loop-2ms", question: "forward a backlog beside a loop without guarantees, the broker takes 2 ms", baseline: loopUpdate,
		unit: ratio, target: atLeast(0.8), takes: 25 * time.Second, embedded: true, round: againstLoop(slow),
	},
	{
		name: "loop", question: "forward a backlog beside a loop without guarantees, the broker answers at once", baseline: loopUpdate,
		unit: ratio, target: atLeast(0.8), takes: 25 * time.Second, round: againstLoop(0),
	},
}

// againstWatermill compares ours, once before and once after, with the first sample of Watermill's chain.
func againstWatermill(latency time.Duration, sample int) func(context.Context, *bench) (outcome, error) {
	return func(ctx context.Context, b *bench) (outcome, error) {
		n := b.scaled(standardEvents, 100)
		first := min(n, b.scaled(sample, 50))
		ours := contender{name: tailraceName, n: n, do: b.forwardBacklog(ctx, n)}
		theirs := contender{name: watermillChain, n: first, do: func(r *room) (cost, error) { return r.watermill(ctx, n, first) }}
		for _, next := range []*contender{&ours, &theirs, &ours} {
			if err := next.take(ctx, b, latency); err != nil {
				return outcome{}, err
			}
		}
		return rates(eventsPerSec, ours, theirs), nil
	}
}

// againstLoop has ours and the loops in turn.
func againstLoop(latency time.Duration) func(context.Context, *bench) (outcome, error) {
	return func(ctx context.Context, b *bench) (outcome, error) {
		n := b.scaled(standardEvents, 100)
		all := []contender{
			{name: tailraceName, n: n, do: b.forwardBacklog(ctx, n)},
			{name: loopUpdate, n: n, do: func(r *room) (cost, error) { return r.loop(ctx, n, settleByUpdate) }},
			{name: loopDelete, n: n, do: func(r *room) (cost, error) { return r.loop(ctx, n, settleByDelete) }},
		}
		if err := inTurn(ctx, b, latency, all); err != nil {
			return outcome{}, err
		}
		return rates(eventsPerSec, all...), nil
	}
}

// forwardBacklog has ours forward a backlog of n.
func (b *bench) forwardBacklog(ctx context.Context, n int) func(*room) (cost, error) {
	return func(r *room) (cost, error) {
		if err := r.fill(ctx, n); err != nil {
			return cost{}, err
		}
		return b.forward(ctx, r, n, nil)
	}
}
