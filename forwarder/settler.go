package forwarder

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/forwarder/internal/mailbox"
)

// ledger is what the settler needs of the table.
type ledger interface {
	Settle(ctx context.Context, ids []int64) error
	Remove(ctx context.Context, ids []int64) error
	attempts
}

type attempts interface {
	Retry(ctx context.Context, ids []int64, reason string, after time.Duration) ([]int64, error)
	Kill(ctx context.Context, id int64, reason string) error
}

// settler writes to the table what became of the rows, in the order it is told, on connections of its
// own. It tries each write until it succeeds.
type settler struct {
	ledger  ledger
	config  *Config
	metrics *metrics
	status  *status
	jobs    *mailbox.Mailbox[job]
	done    *mailbox.Mailbox[settlement]
	open    atomic.Int64
	idle    chan struct{}
}

// settlement is rows that the broker acknowledged, and where the session finds them. As a result it may
// carry a call for the session to make instead.
type settlement struct {
	ids, refs []int64
	counted   func()
}

type job struct {
	settlement
	write func(context.Context) (func(), error)
}

// settleBatch rows are settled by one statement at most.
const settleBatch = 5000

func newSettler(l ledger, config *Config, m *metrics, st *status) *settler {
	return &settler{
		ledger: l, config: config, metrics: m, status: st,
		jobs: mailbox.New[job](), done: mailbox.New[settlement](), idle: make(chan struct{}, 1),
	}
}

func (s *settler) put(j job) {
	s.open.Add(1)
	s.jobs.Put(j)
}

func (s *settler) settle(rows settlement) { s.put(job{settlement: rows}) }

// retry counts an attempt against rows. Then gets, in the session, the ids that have attempts left.
func (s *settler) retry(ids []int64, reason error, after time.Duration, then func([]int64)) {
	s.put(job{write: func(ctx context.Context) (func(), error) {
		counted, err := s.ledger.Retry(ctx, ids, deadletter.Reason(reason), after)
		return func() { then(counted) }, err
	}})
}

// kill makes a row dead.
func (s *settler) kill(id int64, reason error, then func()) {
	s.put(job{write: func(ctx context.Context) (func(), error) {
		return then, s.ledger.Kill(ctx, id, deadletter.Reason(reason))
	}})
}

// run writes until ctx ends.
func (s *settler) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.jobs.Ready:
		}
		var rows settlement
		jobs := s.jobs.Take()
		for i, j := range jobs {
			rows.ids, rows.refs = append(rows.ids, j.ids...), append(rows.refs, j.refs...)
			if j.write == nil && i+1 < len(jobs) && len(rows.ids) < settleBatch {
				continue
			}
			s.writeRows(ctx, rows)
			rows = settlement{}
			if j.write != nil {
				s.writeJob(ctx, j)
			}
		}
		if s.open.Add(-int64(len(jobs))) == 0 {
			select {
			case s.idle <- struct{}{}:
			default:
			}
		}
	}
}

func (s *settler) writeRows(ctx context.Context, rows settlement) {
	if len(rows.ids) == 0 {
		return
	}
	write := s.ledger.Settle
	if s.config.DeleteProcessed {
		write = s.ledger.Remove
	}
	start := time.Now()
	if s.persist(ctx, func() error { return write(ctx, rows.ids) }) {
		s.metrics.settled(len(rows.ids), time.Since(start))
		s.done.Put(rows)
	}
}

func (s *settler) writeJob(ctx context.Context, j job) {
	var then func()
	if s.persist(ctx, func() (err error) {
		then, err = j.write(ctx)
		return err
	}) {
		s.done.Put(settlement{counted: then})
	}
}

// persist tries until the write succeeds, and reports false when ctx ended first.
func (s *settler) persist(ctx context.Context, write func() error) bool {
	const first, most = 20 * time.Millisecond, time.Second
	for wait := first; ; wait = min(2*wait, most) {
		err := write()
		if err == nil {
			s.status.database(nil)
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		s.status.database(err)
		if wait == first {
			s.config.Logger.Warn("could not settle rows; trying until it works, meanwhile they count as on their way", "error", err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
	}
}

// flush waits until all that was put is written, and reports false when that took too long.
func (s *settler) flush(within time.Duration) bool {
	timer := time.NewTimer(within)
	defer timer.Stop()
	for s.open.Load() > 0 {
		select {
		case <-s.idle:
		case <-timer.C:
			return false
		}
	}
	return true
}
