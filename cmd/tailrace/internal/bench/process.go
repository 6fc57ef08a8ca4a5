package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/internal/embedded/proc"
)

// Program is how a process is started.
type Program struct {
	Path string
	Args []string
	// Env is the whole environment.
	Env []string
}

// process is ours at work in a room, as an operator runs it: `tailrace forward` in a process of its own.
type process struct {
	*room

	child *proc.Process
}

// stopWithin is longer than the forwarder's own time for a clean stop.
const stopWithin = 20 * time.Second

// process starts ours and waits until it owns the outbox. The caller closes it.
func (b *bench) process(ctx context.Context, r *room) (*process, error) {
	if b.Forward == nil {
		return nil, errors.New("Config.Forward is nil: say how this program is started as a forwarder")
	}
	// The group is its own, so that it takes no outbox from the user's forwarders.
	args := append(slices.Clone(b.Forward.Args), "--table", r.schema+"."+outbox.DefaultTable, "--group", r.schema, "--http-addr", "off", "--log-level", "warn")
	for flag, value := range map[string]int{"--batch-size": b.Tuning.BatchSize, "--window": b.Tuning.Window} {
		if value > 0 {
			args = append(args, flag, strconv.Itoa(value))
		}
	}
	if b.Quick {
		args = append(args, "--lease", quickLease.String())
	}
	if b.Tuning.Compression != "" {
		args = append(args, "--compression", string(b.Tuning.Compression))
	}
	env := append(slices.Clone(b.Forward.Env), "DATABASE_URL="+b.servers.postgres.DSN(""))
	if b.Kafka == nil {
		env = append(env, "KAFKA_BROKERS="+strings.Join(r.cluster.Brokers, ","))
	}
	child, err := proc.Start(proc.Config{Path: b.Forward.Path, Args: args, Env: env, Output: os.Stderr})
	if err != nil {
		return nil, fmt.Errorf("%w", err)
	}
	p := &process{room: r, child: child}
	if err := p.until(ctx, p.owns); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *process) owns(ctx context.Context) (owned bool, err error) {
	err = p.db.QueryRowContext(ctx, `SELECT count(owner) > 0 FROM event_outbox_forwarder`).Scan(&owned)
	return owned, err
}

// until waits for a state, which is asked for often.
func (p *process) until(ctx context.Context, reached func(context.Context) (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if done, err := reached(ctx); done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-p.child.Done():
			return errors.Join(errors.New("the forwarder's process ended by itself"), p.child.Err())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// close stops the process, which has to end well.
func (p *process) close() error {
	if err := p.child.Stop(syscall.SIGTERM, stopWithin); err != nil {
		return fmt.Errorf("%w", err)
	}
	if err := p.child.Err(); err != nil {
		return fmt.Errorf("the forwarder's process: %w", err)
	}
	return nil
}

// usage is what the operating system says of the process now.
func (p *process) usage() (usage, error) { return usageOf(p.child.PID()) }
