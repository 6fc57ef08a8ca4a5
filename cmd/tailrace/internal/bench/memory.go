package bench

import (
	"context"
	"errors"
	"time"
)

// memoryOfProcess has ours forward a vast backlog, and sees how much memory it took for that.
func memoryOfProcess(ctx context.Context, b *bench) (_ outcome, err error) {
	r, err := b.room(ctx, 0)
	if err != nil {
		return outcome{}, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	n := b.scaled(vastBacklog, 2500)
	b.progressf("memory: writing %s", count(n, "rows"))
	if err := r.fill(ctx, n); err != nil {
		return outcome{}, err
	}
	p, err := b.process(ctx, r)
	if err != nil {
		return outcome{}, err
	}
	used, rate, err := p.forwardAll(ctx)
	if err := errors.Join(err, p.close()); err != nil {
		return outcome{}, err
	}
	return outcome{score: float64(used.peak) / (1 << 20), figures: []figure{
		{"memory in RAM at the end", mebibytes, float64(used.resident) / (1 << 20)},
		{tailraceName + ", " + count(n, "pending"), eventsPerSec, rate},
		{tailraceName + ", CPU of its process", "µs/event", cost{cpu: used.cpu}.per(n)},
	}}, r.whole(ctx, n)
}

// forwardAll waits until what was written is forwarded and settled.
func (p *process) forwardAll(ctx context.Context) (used usage, rate float64, err error) {
	start := time.Now()
	err = p.until(ctx, func(context.Context) (bool, error) {
		arrived, err := p.arrived()
		return int(arrived) >= p.written, err
	})
	if err != nil {
		return used, 0, err
	}
	rate = float64(p.written) / time.Since(start).Seconds()
	// Counting a million rows takes a while: not before they are all in Kafka.
	if err := p.until(ctx, p.done); err != nil {
		return used, 0, err
	}
	used, err = p.usage()
	return used, rate, err
}
