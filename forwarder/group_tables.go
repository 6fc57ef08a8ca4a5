package forwarder

import (
	"context"
	"slices"
	"time"

	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder/internal/pace"
	"github.com/tailrace-go/tailrace/internal/pgtable"
)

// tableSource says which tables an outbox of the configuration has.
type tableSource struct {
	name, table string
	list        func(context.Context) ([]string, error)
}

const (
	// listEvery is how often a source is asked for its tables.
	listEvery = time.Second
	// listTimeout bounds a call of it.
	listTimeout = 5 * time.Second
	// recheckEvery is how often a table that needs an operator is looked at again.
	recheckEvery = 5 * time.Second
)

// tables is what a source has now.
type tables struct {
	database *database
	source   tableSource
	names    []string
}

// follow asks a source for its tables again and again until ctx ends.
func (r *groupRun) follow(ctx context.Context, d *database, source tableSource) {
	failed := false
	for first := true; first || pace.Sleep(ctx, listEvery); first = false {
		asking, cancel := context.WithTimeout(ctx, listTimeout)
		names, err := source.list(asking)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if !failed && pgtable.SQLState(err) != "" { // else the database is away, which the member session tells
				r.log.Warn("could not ask which tables the outbox has; going on with those that are known", "outbox", source.name, "error", err)
			}
		default:
			r.tell(func() { r.listed(tables{d, source, names}) })
		}
		failed = err != nil
	}
}

// listed starts to serve tables that are new and gives back those that are gone.
func (r *groupRun) listed(now tables) {
	if r.ended {
		return
	}
	for _, table := range now.names {
		if slices.ContainsFunc(r.stations, func(s *station) bool { return s.database == now.database && s.table == table }) {
			continue
		}
		name := table
		if now.source.name != now.source.table {
			name = now.source.name + "/" + table
		}
		s, err := r.station(name, table, now.database)
		if err != nil {
			r.log.Error("cannot serve a table of the outbox", "outbox", now.source.name, "table", table, "error", err)
			continue
		}
		s.source = now.source.name
		r.add(s)
		r.log.Info("the outbox has another table", "outbox", now.source.name, "table", table)
	}
	for _, s := range slices.Clone(r.stations) {
		if s.database == now.database && s.source == now.source.name && !slices.Contains(now.names, s.table) && !s.gone {
			r.log.Info("the outbox has a table less", "outbox", now.source.name, "table", s.table)
			if s.gone = true; s.phase == idle {
				r.remove(s)
			}
			r.release(s)
		}
	}
}

// fits takes note that a table can be forwarded.
func (r *groupRun) fits(s *station) {
	s.fit, s.fault = true, nil
	s.forwarder.status.set(func(now *Status) { now.Outbox = nil })
	if !r.ended {
		r.share(time.Now())
	}
}

// inspect looks whether a station's table is fit to be forwarded, until it is. At the start of a group, a table
// that is not, by the first answer, ends it.
func (r *groupRun) inspect(ctx context.Context, s *station, starting bool) {
	const firstWait, mostWait = 50 * time.Millisecond, time.Second
	wait := firstWait
	for ; ; starting = false {
		checking, cancel := context.WithTimeout(ctx, listTimeout)
		err := outbox.Check(checking, s.database.db, s.table)
		cancel()
		pause := wait
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			r.tell(func() { r.fits(s) })
			return
		case unfit(err):
			fatal := starting
			r.tell(func() { r.unfit(s, err, fatal) })
			pause = recheckEvery
		default: // Its database is away, which the member session tells.
			wait = min(2*wait, mostWait)
		}
		if !pace.Sleep(ctx, pause) {
			return
		}
	}
}
