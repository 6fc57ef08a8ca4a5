package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"

	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/forwarder"
)

// quickLease outlasts the pauses of a machine that does much else while it is seen whether all works: an owner
// that loses its lease sends what is on its way again, which is no measurement.
const quickLease = time.Minute

// forwarder is ours, with its defaults unless the tuning or change says otherwise, over the room's outbox and broker.
// The caller calls close when it has stopped.
func (r *room) forwarder(change func(*forwarder.Config)) (_ *forwarder.Forwarder, closeSender func() error, err error) {
	tuning := r.servers.config.Tuning
	sender, err := kafka.NewSender(kafka.SenderConfig{Config: r.cluster, Compression: tuning.Compression})
	if err != nil {
		return nil, nil, fmt.Errorf("%w", err)
	}
	config := forwarder.Config{DB: r.db, Sender: sender, BatchSize: tuning.BatchSize, Window: tuning.Window, Logger: slog.New(slog.DiscardHandler)}
	if r.servers.config.Quick {
		config.Lease = quickLease
	}
	if change != nil {
		change(&config)
	}
	f, err := forwarder.New(config)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%w", err), sender.Close())
	}
	return f, sender.Close, nil
}

// forward has ours forward n rows that are there, from the first connection to the last row's being
// settled. Change may change its configuration.
func (b *bench) forward(ctx context.Context, r *room, n int, change func(*forwarder.Config)) (used cost, err error) {
	f, closeSender, err := r.forwarder(change)
	if err != nil {
		return cost{}, err
	}
	defer func() { err = errors.Join(err, closeSender()) }()
	if used, err = b.ours(func() error { return f.Drain(ctx) }); err != nil {
		return cost{}, err
	}
	return used, r.whole(ctx, n)
}

// ours times a part that is ours, and profiles it when asked to.
func (b *bench) ours(do func() error) (cost, error) {
	stop, err := b.profile.start()
	if err != nil {
		return cost{}, err
	}
	used, err := timed(do)
	return used, errors.Join(err, stop())
}

// profiler writes CPU profiles, one for each time it is started: pprof takes several at once.
type profiler struct {
	dir, name string
	written   int
}

func (p *profiler) start() (stop func() error, err error) {
	if p.dir == "" {
		return func() error { return nil }, nil
	}
	if err := os.MkdirAll(p.dir, 0o750); err != nil {
		return nil, fmt.Errorf("--cpuprofile: %w", err)
	}
	p.written++
	file, err := os.Create(filepath.Join(p.dir, fmt.Sprintf("%s.%d.pprof", p.name, p.written)))
	if err != nil {
		return nil, fmt.Errorf("--cpuprofile: %w", err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(fmt.Errorf("--cpuprofile: %w", err), file.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return file.Close()
	}, nil
}
