package forwarder

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder/internal/pace"
)

// database is one that a Group has outboxes in.
type database struct {
	place   int
	db      *sql.DB
	sources []tableSource

	mu     sync.Mutex
	tables []string // that the group wants to know of

	word // of the goroutine of Run
}

// word is what was last heard of a database.
type word struct {
	live   bool // that it is there
	away   bool // that it is not
	census outbox.Census
	heard  time.Time // the census
	seen   int       // how often, since it was last away
	lost   time.Time // since when it is away
	since  time.Time // it was last away, zero for never
	before []uint32  // members as of then
}

// hears takes what a database tells.
func (w *word) hears(s sighting, now time.Time) {
	if s.err != nil {
		if !w.away {
			w.lost = now
		}
		w.live, w.away, w.seen = false, true, 0
		return
	}
	if w.away {
		w.since, w.before = now, w.census.Members
	}
	w.live, w.away, w.census, w.heard = true, false, s.census, now
	w.seen++
}

// justBack reports whether it was away a moment ago.
func (w *word) justBack(now time.Time) bool {
	return !w.since.IsZero() && now.Sub(w.since) < gatherTime
}

// sighting is what a database tells, or that it tells nothing.
type sighting struct {
	from   *database
	census outbox.Census
	err    error
}

func (d *database) watch(table string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tables = append(d.tables, table)
}

func (d *database) forget(table string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tables = slices.DeleteFunc(d.tables, func(t string) bool { return t == table })
}

func (d *database) watched() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.tables)
}

// lookout is a process's membership in one database: it joins, looks every poll, and joins again when the
// session is lost.
type lookout struct {
	database *database
	at       outbox.Membership
	config   *Config
	tell     func(sighting)
	collided func()
}

var errSilent = errors.New("forwarder: the database has not answered for too long")

// mostSilent bounds the sessions that are left behind because they do not answer: lib/pq waits on a connection
// without traffic for as long as the system does, whatever its context says.
const mostSilent = 3

// silence is how long a database may take to answer before it counts as away.
func (l *lookout) silence() time.Duration { return max(5*time.Second, 3*l.config.Lease) }

// run watches until ctx ends.
func (l *lookout) run(ctx context.Context) {
	const firstWait, mostWait = 50 * time.Millisecond, time.Second
	wait := firstWait
	taken := time.Time{} // since when the number is
	silent := make(chan struct{}, mostSilent)
	for ctx.Err() == nil {
		began := time.Now()
		joined, err := l.attend(ctx, silent)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, outbox.ErrNumberTaken):
			// Most likely by this process's last session, until the server has noticed its end.
			if taken.IsZero() {
				taken = began
			}
			if time.Since(taken) > 3*l.config.Lease {
				l.collided()
				return
			}
			wait = firstWait
		default:
			taken = time.Time{}
			l.tell(sighting{from: l.database, err: err})
			if joined {
				wait = firstWait
			}
		}
		if !pace.Sleep(ctx, wait) {
			return
		}
		wait = min(2*wait, mostWait)
	}
}

// attend is one session, in a goroutine of its own that is left behind when the database does not answer. It
// reports whether it joined.
func (l *lookout) attend(ctx context.Context, silent chan struct{}) (joined bool, err error) {
	select {
	case silent <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	session, cancel := context.WithCancel(ctx)
	defer cancel()
	sightings := make(chan sighting)
	done := make(chan error, 1)
	go func() {
		defer func() { <-silent }()
		done <- l.session(session, sightings)
	}()
	timer := time.NewTimer(l.silence())
	defer timer.Stop()
	for {
		select {
		case s := <-sightings:
			joined = true
			l.tell(s)
			timer.Reset(l.silence())
		case err := <-done:
			return joined, err
		case <-timer.C:
			return joined, errSilent
		}
	}
}

// session joins, and tells what it sees until ctx ends.
func (l *lookout) session(ctx context.Context, sightings chan<- sighting) error {
	d := l.database
	// A statement is not cut off by a stop, only by silence: a cancelled one costs the server a connection.
	within := func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.WithoutCancel(ctx), l.silence())
	}
	joining, cancel := within()
	member, err := outbox.Join(joining, d.db, l.at, l.config.Lease)
	cancel()
	if err != nil {
		return err
	}
	defer member.Leave()
	for {
		s := sighting{from: d}
		asking, cancel := within()
		s.census, err = member.Census(asking, d.watched())
		cancel()
		if err != nil {
			return err
		}
		select {
		case sightings <- s:
		case <-ctx.Done():
			return ctx.Err()
		}
		poll := l.config.StandbyPoll
		if l.alone(s.census) {
			poll = max(poll, min(2*poll, l.config.Lease/3))
		}
		if !pace.Sleep(ctx, pace.Jitter(poll)) {
			return ctx.Err()
		}
	}
}

// alone reports whether nothing can change but by a process that comes: this one is the only one, and owns all.
func (l *lookout) alone(census outbox.Census) bool {
	return len(census.Members) == 1 && !slices.ContainsFunc(l.database.watched(), func(table string) bool {
		return census.Owners[table] != l.at.Number
	})
}
