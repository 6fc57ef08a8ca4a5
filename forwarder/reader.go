package forwarder

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

// source is what the reader needs of an owned outbox.
type source interface {
	Read(ctx context.Context, dst []outbox.Row, after int64, gaps []outbox.Range, limit outbox.Limit) (rows []outbox.Row, cut bool, err error)
	Fetch(ctx context.Context, dst []outbox.Row, ids []int64, limit outbox.Limit) (rows []outbox.Row, cut bool, err error)
	Moved(ctx context.Context) (outbox.Moved, error)
	watcher
}

// watcher is the part of a source that reads no rows' contents.
type watcher interface {
	Unsettled(ctx context.Context, after, upTo int64, limit int) (ids []int64, last int64, err error)
	upkeep
	writers
}

// writers is the part of a source that tells who may still write.
type writers interface {
	Holders(ctx context.Context) (outbox.Holders, error)
	Running(ctx context.Context) (outbox.Running, error)
	RolledBack(ctx context.Context, ids []uint32) (map[uint32]struct{}, error)
}

// upkeep is the part of a source that keeps the claim.
type upkeep interface {
	Issued(ctx context.Context) (int64, error)
	Mark(ctx context.Context, lowWater int64) error
	Beat(ctx context.Context) error
}

// found is what the reader hands to the session, in the order of its statements.
type found struct {
	// rows are pending, in id order.
	rows []outbox.Row
	// asked are the ids of a fetch, ascending; nil for a read. Those without a row are not pending.
	asked []int64
	// suspects are pending rows below the frontier that are no gaps; the session knows which of them it
	// has in hand.
	suspects []int64
	// frontier: every row at or below it was handed over, or can never come.
	frontier int64
	// last: every row at or below it was read, gaps apart.
	last int64
	// read is when the statement began.
	read time.Time
	// demand, when not 0, tells that a read that began after that many calls of demand reached the end of
	// the table; swept the same of a sweep.
	demand, swept int64
}

// reader runs every statement of the owner's connection.
type reader struct {
	config  *Config
	metrics *metrics
	claim   source
	out     chan found
	wake    chan struct{}
	done    chan struct{}
	quit    func()

	// Set by the session.
	room     atomic.Int64 // records that may be read
	space    atomic.Int64 // bytes that may be read
	lowWater atomic.Int64
	stopped  atomic.Bool // no more forward reads
	mu       sync.Mutex
	asked    [][]int64 // fetches to make, each ascending

	// demand counts the calls that want to know when all that was pending at their time is handed over.
	demand atomic.Int64

	last     int64
	handed   int64 // the frontier that the session knows
	gaps     gapList
	size     int // rows of the last read
	stuck    int // reads in turn that were full of rows that are in hand already
	poll     time.Duration
	busyTill time.Time

	marked                       int64
	nextBeat, nextMark, nextLook time.Time
	sweep                        sweep
	strays                       strays
}

const fetchLimit = 1000

// mostStuck bounds how many rows a read may return, to 1,024 times the usual, and mostStuckBytes their bytes,
// which are in memory until it is known that the rows are in hand, to 4 times.
const mostStuck, mostStuckBytes = 10, 2

// lookEvery bounds how often the reader asks who writes, under load.
const lookEvery = 5 * time.Millisecond

func newReader(config *Config, m *metrics, claim source, lowWater int64) *reader {
	r := &reader{
		config: config, metrics: m, claim: claim,
		out: make(chan found, 1), wake: make(chan struct{}, 1),
		last: lowWater, marked: lowWater, poll: config.PollMin, gaps: newGapList(), sweep: sweep{size: smallSweepStep},
	}
	r.done = make(chan struct{})
	r.quit = sync.OnceFunc(func() { close(r.done) })
	r.lowWater.Store(lowWater)
	r.space.Store(config.WindowBytes)
	return r
}

// nudge makes the reader look again at what it may do.
func (r *reader) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// ask queues a fetch of rows by id, ascending.
func (r *reader) ask(ids []int64) {
	r.mu.Lock()
	r.asked = append(r.asked, ids)
	r.mu.Unlock()
	r.nudge()
}

func (r *reader) nextAsked() []int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.asked) == 0 {
		return nil
	}
	ids := r.asked[0]
	if len(ids) > fetchLimit {
		r.asked[0] = ids[fetchLimit:]
		return ids[:fetchLimit:fetchLimit]
	}
	r.asked = r.asked[1:]
	return ids
}

// run reads until it is told to quit or ctx ends, which is no error, or the claim is lost.
func (r *reader) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-r.done:
			return nil
		default:
		}
		wait, err := r.step(ctx)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, errQuit) {
				return nil
			}
			return err
		}
		if wait <= 0 {
			continue
		}
		timer.Reset(wait)
		select {
		case <-r.done:
			return nil
		case <-timer.C:
		case <-r.wake:
		case <-r.config.wake:
			r.hurry()
		}
	}
}

var errQuit = errors.New("forwarder: the reader was told to quit")

// hurry makes the next reads come quickly.
func (r *reader) hurry() {
	r.poll = r.config.PollMin
	r.busyTill = time.Now().Add(busyFor)
}

const (
	// busyFor is how long after the last row the reader polls at its quickest.
	busyFor = time.Second
	// idleShare is by how much the next row may come later than it would in an outbox that is busy: by that
	// part of the time since the last one.
	idleShare = 40
)

// step does the most urgent thing and returns how long to wait before the next.
func (r *reader) step(ctx context.Context) (time.Duration, error) {
	if ids := r.nextAsked(); ids != nil {
		start := time.Now()
		rows, cut, err := r.claim.Fetch(ctx, nil, ids, outbox.Limit{Bytes: max(1, r.space.Load())})
		if err != nil {
			return 0, err
		}
		r.alive(start)
		if cut {
			// The rows behind the last one were not looked at.
			at, _ := slices.BinarySearch(ids, rows[len(rows)-1].ID+1)
			r.mu.Lock()
			r.asked = append([][]int64{ids[at:]}, r.asked...)
			r.mu.Unlock()
			ids = ids[:at]
		}
		return 0, r.hand(ctx, found{rows: rows, asked: ids, read: start})
	}
	wait := r.config.PollMax
	if room := int(r.room.Load()); room > 0 && !r.stopped.Load() {
		start, covering := time.Now(), r.gaps.ask().covering
		full, err := r.forward(ctx, min(room, r.batch()))
		if err != nil {
			return 0, err
		}
		wait = r.poll
		if covering {
			wait = max(wait, 2*time.Since(start)) // such reads cost much and are not to keep the server busy
		}
		if err := r.look(ctx); err != nil {
			return 0, err
		}
		if full {
			wait = 0
		}
	}
	return wait, r.upkeep(ctx, &wait)
}

// batch is how many rows a read may return: more when it costs much to ask for the gaps, but not so many
// that the lease ends meanwhile.
func (r *reader) batch() int {
	if asked := r.gaps.ask(); asked.covering || asked.lateOnly {
		return 4 * r.config.BatchSize
	}
	return r.config.BatchSize
}

// forward makes one read and reports whether it was cut off at its limit.
func (r *reader) forward(ctx context.Context, limit int) (bool, error) {
	start := time.Now()
	demand := r.demand.Load()
	asked := r.gaps.ask()
	limit <<= r.stuck
	after := r.last
	if asked.lateOnly {
		after = math.MaxInt64
	}
	rows, full, err := r.claim.Read(ctx, make([]outbox.Row, 0, min(limit, r.size+r.size/4+16)), after, asked.ranges,
		outbox.Limit{Rows: limit, Bytes: max(1, r.space.Load()) << min(r.stuck, mostStuckBytes)})
	if err != nil {
		return false, err
	}
	r.alive(start)
	r.size = len(rows)
	if anew, err := r.missed(ctx, rows); anew || err != nil {
		return true, err
	}
	var late []int64
	before := r.last
	pending := rows[:0]
	for i := range rows {
		row := &rows[i]
		if row.ID <= before {
			if !r.gaps.wants(row.ID, asked) {
				continue
			}
			late = append(late, row.ID)
		} else {
			r.gaps.add(r.last+1, row.ID-1)
			r.last = row.ID
		}
		if !row.Pending {
			continue
		}
		r.stray(row)
		if len(pending) == i {
			pending = rows[:i+1]
		} else {
			pending = append(pending, *row)
		}
	}
	// Rows that wait between the gaps that a range covers come again with each read. They must not fill it.
	if full && len(late) == 0 && r.last == before {
		r.stuck = min(r.stuck+1, mostStuck)
	} else {
		r.stuck = 0
	}
	// Rows come by id, so one from behind the old end, or a read that was not cut off, means that no
	// gap was cut off either.
	r.gaps.settle(late, !full || r.last > before, asked)
	r.metrics.read(len(rows), len(late), r.gaps.len(), time.Since(start))
	full = full || asked.lateOnly // there is more to read
	if len(rows) > 0 {
		r.poll, r.busyTill = r.config.PollMin, start.Add(busyFor)
	} else if start.After(r.busyTill) {
		idle := start.Sub(r.busyTill) + busyFor
		r.poll = min(r.config.PollMax, max(r.config.PollMin, idle/idleShare))
	}
	if full {
		demand = 0
	}
	if len(pending) == 0 && demand == 0 && r.frontier() == r.handed {
		return full, nil
	}
	return full, r.hand(ctx, found{rows: pending, demand: demand, read: start})
}

// missed reports whether a read has to be made anew, since it left gaps out that may have been filled: the
// rows behind such a one must not go first. Those may be of the same transaction, whose later gaps it found.
func (r *reader) missed(ctx context.Context, rows []outbox.Row) (bool, error) {
	if len(rows) == 0 || rows[len(rows)-1].ID < r.gaps.lowestQuiet() {
		return false, nil
	}
	running, err := r.claim.Running(ctx)
	if err != nil {
		return false, err
	}
	rolledBack, err := r.rolledBack(ctx, running.Has)
	if err != nil {
		return false, err
	}
	return r.gaps.rouse(running, rolledBack), nil
}

// rolledBack returns which of those have rolled back that hold gaps which reads leave out, and run no more.
func (r *reader) rolledBack(ctx context.Context, runs func(id uint32) bool) (map[uint32]struct{}, error) {
	ended := r.gaps.ended(runs)
	if len(ended) == 0 {
		return nil, nil
	}
	return r.claim.RolledBack(ctx, ended)
}

// frontier is the id up to which every row was handed over, or can never come.
func (r *reader) frontier() int64 { return r.gaps.lowest(r.last+1) - 1 }

// look asks who may still fill the gaps, after a read that saw them.
func (r *reader) look(ctx context.Context) error {
	now := time.Now()
	if now.Before(r.nextLook) || !r.gaps.undecided() {
		return nil
	}
	holders, err := r.claim.Holders(ctx)
	if err != nil {
		return err
	}
	r.alive(now)
	r.nextLook = now.Add(lookEvery)
	rolledBack, err := r.rolledBack(ctx, holders.Has)
	if err != nil {
		return err
	}
	r.gaps.look(holders, rolledBack)
	return nil
}

// alive notes a successful statement, which is a heartbeat too.
func (r *reader) alive(at time.Time) { r.nextBeat = at.Add(r.config.Lease / 4) }

// hand gives the session what was found, beating for as long as the session is busy.
func (r *reader) hand(ctx context.Context, f found) error {
	f.frontier, f.last = r.frontier(), r.last
	for {
		timer := time.NewTimer(time.Until(r.nextBeat))
		select {
		case r.out <- f:
			timer.Stop()
			r.handed = f.frontier
			return nil
		case <-r.done:
			timer.Stop()
			return errQuit
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
			if err := r.beat(ctx); err != nil {
				return err
			}
		}
	}
}

func (r *reader) beat(ctx context.Context) error {
	now := time.Now()
	if now.Before(r.nextBeat) {
		return nil
	}
	if err := r.claim.Beat(ctx); err != nil {
		return err
	}
	r.alive(now)
	return nil
}

// upkeep beats, stores the low-water mark and goes on with the sweep. It shortens wait to when it is
// needed again.
func (r *reader) upkeep(ctx context.Context, wait *time.Duration) error {
	if err := r.beat(ctx); err != nil {
		return err
	}
	now := time.Now()
	if lowWater := r.lowWater.Load(); lowWater != r.marked && !now.Before(r.nextMark) {
		if err := r.claim.Mark(ctx, lowWater); err != nil {
			return err
		}
		r.marked, r.nextMark = lowWater, now.Add(markEvery)
		r.alive(now)
	}
	if err := r.sweepOn(ctx, now); err != nil {
		return err
	}
	if err := r.askMoved(ctx, now); err != nil {
		return err
	}
	*wait = min(*wait, time.Until(r.nextBeat), time.Until(r.sweep.next))
	return nil
}

// markEvery is how often the low-water mark is stored while it moves: what a new owner reads again.
const markEvery = time.Second
