package watermillsql

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tailrace-go/tailrace/forwarder"
	"github.com/tailrace-go/tailrace/forwarder/internal/pace"
	"github.com/tailrace-go/tailrace/internal/pglease"
	"github.com/tailrace-go/tailrace/internal/pgtable"
)

// Forwarder forwards one topic of Watermill's for one consumer group. It is safe for concurrent use.
type Forwarder struct {
	config  Config
	tables  tables
	metrics *metrics
	status  status
	running atomic.Bool
}

// New checks the configuration and returns a forwarder. It starts nothing.
func New(config Config) (*Forwarder, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	t := tablesOf(&config)
	m, err := newMetrics(config.Registerer, t.messages)
	if err != nil {
		return nil, err
	}
	return &Forwarder{config: config, tables: t, metrics: m}, nil
}

var errOwned = errors.New("watermillsql: another process forwards for this group")

// Run forwards until ctx ends, then finishes what is on its way, records the position and gives the lock
// back. It returns nil after a clean stop, and an error when what was on its way could not be finished
// within DrainTimeout, or when the tables can't be forwarded ([ErrNoTable], [ErrShape], [ErrServer]) or Run
// is at work already ([forwarder.ErrRunning]). Losing the database or the broker ends nothing: it tries
// again.
func (f *Forwarder) Run(ctx context.Context) error {
	if !f.running.CompareAndSwap(false, true) {
		return forwarder.ErrRunning
	}
	f.status.set(func(s *forwarder.Status) { s.State = forwarder.Standby })
	defer func() {
		f.status.set(func(s *forwarder.Status) { s.State = forwarder.Stopped })
		f.running.Store(false)
	}()
	log := f.config.Logger
	const firstWait, mostWait = 50 * time.Millisecond, 5 * time.Second
	wait := firstWait
	checked, standby := false, false
	for {
		pause := f.config.StandbyPoll
		var owned bool
		var err error
		if !checked {
			err = f.tables.check(ctx, f.config.DB)
			checked = err == nil
		}
		if checked {
			owned, err = f.own(ctx)
		}
		switch {
		case ctx.Err() != nil && (!owned || errors.Is(err, errMoved)):
			return nil // whatever it was, it had nothing on its way, or nothing that is its own to finish
		case ctx.Err() != nil:
			return err
		case unfit(err):
			return err
		case errors.Is(err, errMoved):
			standby, wait = false, firstWait
		case errors.Is(err, errOwned):
			f.status.database(nil)
			f.status.blocked(nil)
			if !standby {
				log.Info("another process forwards for this group; standing by", "table", f.tables.messages, "consumer_group", f.tables.group)
			}
			standby, wait = true, firstWait
		case errors.Is(err, errRival):
			f.status.database(nil)
			f.status.blocked(errRival)
			if !standby {
				log.Warn("waiting for the offsets row", "table", f.tables.offsets, "consumer_group", f.tables.group, "error", err)
			}
			standby, wait = true, firstWait
		default:
			standby = false
			if owned {
				wait = firstWait
			}
			f.status.database(err)
			log.Warn("Watermill's tables are not owned for now; trying again", "error", err, "retry_in", wait)
			pause = wait
			wait = min(2*wait, mostWait)
		}
		if !pace.Sleep(ctx, pace.Jitter(pause)) {
			return nil
		}
	}
}

// unfit reports whether an error tells that the tables need an operator, rather than that the database is
// away.
func unfit(err error) bool {
	return errors.Is(err, ErrNoTable) || errors.Is(err, ErrShape) || errors.Is(err, ErrServer)
}

// own takes the lock once and forwards until ctx ends or it is lost. It reports whether it came to own it.
func (f *Forwarder) own(ctx context.Context) (owned bool, err error) {
	lease, err := pglease.Open(ctx, f.config.DB, f.config.Lease)
	if err != nil {
		return false, wrap("connect", err)
	}
	defer lease.Abandon()
	at, err := f.claim(ctx, lease)
	if err != nil {
		return false, err
	}
	s, err := newSession(ctx, f, lease, at)
	if err != nil {
		return false, err
	}
	f.config.Logger.Info("forwarding for Watermill's group", "table", f.tables.messages, "consumer_group", f.tables.group,
		"owner", f.config.Owner, "from", at.String(), "backend_pid", lease.PID())
	f.status.set(func(s *forwarder.Status) {
		s.State, s.Since, s.Database, s.Broker, s.Blocked = forwarder.Owner, time.Now(), nil, nil, nil
	})
	defer f.status.set(func(s *forwarder.Status) {
		s.State, s.Flying, s.Waiting, s.Paused, s.Blocked = forwarder.Standby, 0, 0, nil, nil
	})
	f.metrics.owner(true)
	defer f.metrics.owner(false)
	defer s.sample(ctx)()
	err = s.run(ctx)
	f.config.Logger.Info("no longer forwarding for Watermill's group", "table", f.tables.messages, "consumer_group", f.tables.group)
	return true, err
}

// claim takes the lock and returns where to start, once no Watermill forwarder is in the middle of a batch.
func (f *Forwarder) claim(ctx context.Context, lease *pglease.Lease) (position, error) {
	conn := lease.Conn()
	if err := f.tables.begin(ctx, conn); err != nil {
		return position{}, err
	}
	key, err := f.tables.key(ctx, conn)
	if err != nil {
		return position{}, err
	}
	owned, err := lease.Lock(ctx, key)
	if err != nil {
		return position{}, wrap("take the lock", err)
	}
	if !owned {
		return position{}, errOwned
	}
	if _, err := conn.ExecContext(ctx, fmt.Sprintf(`SET lock_timeout = %d`, f.config.LockTimeout.Milliseconds())); err != nil {
		return position{}, wrap("prepare the connection", err)
	}
	var at position
	err = lease.Do(func() (err error) {
		at, err = f.tables.locked(ctx, conn)
		return err
	})
	if pgtable.SQLState(err) == pgtable.LockNotAvailable {
		return position{}, errRival
	}
	return at, wrap("read the position", err)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("watermillsql: %s: %w", what, err)
}
