package forwarder

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

const (
	// firstPin and mostPin bound for how long an outbox is kept that was given up and that nobody took.
	firstPin = 5 * time.Second
	mostPin  = 5 * time.Minute
	// overdue, or so many polls, is the age at which a census is not acted on any more.
	overdue      = time.Second
	overduePolls = 5
	// gatherTime bounds how long those who are there first wait for the others in a database that is back: they
	// try every second, and have to end what they were about to do.
	gatherTime = 3 * time.Second
	// awayTime is for how long nothing is given up while a database is away.
	awayTime = 30 * time.Second
	// patiencePolls is how many polls an outbox may be free before anybody takes it, whoever's it should be.
	patiencePolls = 4
)

// saw takes what a database told.
func (r *groupRun) saw(s sighting) {
	if r.ended {
		return
	}
	d := s.from
	switch {
	case s.err != nil && !d.away:
		r.log.Warn("the database is away; trying until it is back", "error", s.err, "outboxes", r.namesIn(d))
	case s.err == nil && d.away:
		r.log.Info("the database is back", "outboxes", r.namesIn(d))
	}
	now := time.Now()
	d.hears(s, now)
	for _, station := range r.stations {
		if station.database != d {
			continue
		}
		if station.fault == nil {
			station.show(s.err)
		}
		if d.away {
			station.freeSince = time.Time{} // nothing is known of it
		}
	}
	r.share(now)
}

func (r *groupRun) namesIn(d *database) (names []string) {
	for _, s := range r.stations {
		if s.database == d {
			names = append(names, s.name)
		}
	}
	return names
}

// share does this process's part of spreading the outboxes.
func (r *groupRun) share(now time.Time) {
	v, order := r.view(now)
	r.members(v)
	p := v.plan()
	for _, i := range p.release {
		if !r.steady(now) {
			break
		}
		s := order[i]
		s.forwarder.config.Logger.Info("giving the outbox to a process that has fewer", "members", len(v.joined))
		r.release(s)
	}
	for i, s := range order {
		if !v.outboxes[i].free {
			s.freeSince = time.Time{}
			continue
		}
		if s.freeSince.IsZero() {
			s.freeSince = now
		}
		mine := slices.Contains(p.claim, i)
		switch {
		case !r.mayTake(s, v, now):
		case mine:
			r.take(s)
		case !s.database.justBack(now) && s.database.heard.Sub(s.freeSince) > patiencePolls*r.config.StandbyPoll:
			// Whoever should have it does not take it: it does not know it, or cannot.
			if now.Sub(s.gaveAt) < firstPin {
				s.pin = max(firstPin, min(2*s.pin, mostPin))
				s.pinned = now.Add(s.pin)
			}
			r.take(s)
		}
	}
}

// mayTake reports whether an outbox may be tried now.
func (r *groupRun) mayTake(s *station, v view, now time.Time) bool {
	d := s.database
	if !r.fresh(d, now) || !s.fit || s.gone || s.phase != idle || now.Before(s.notBefore) {
		return false
	}
	if len(r.stations) > 1 && (d.seen == 1 || r.gathering(d, v, now)) {
		return false // Others may be starting, too: who is here a moment later shares from the start.
	}
	// A claim holds its connection; with none left, nothing could be settled.
	most := d.db.Stats().MaxOpenConnections
	return most == 0 || r.claims(d) < most-connections
}

// fresh reports whether the last word of a database is young enough to act on. One that hangs tells nothing.
func (r *groupRun) fresh(d *database, now time.Time) bool {
	return d.live && now.Sub(d.heard) < max(overdue, overduePolls*r.config.StandbyPoll)
}

// gathering reports whether members are still on their way back to a database that was away: those that were
// there before and live, as another database shows.
func (r *groupRun) gathering(d *database, v view, now time.Time) bool {
	return d.justBack(now) && slices.ContainsFunc(d.before, func(m uint32) bool {
		return v.joined[m] != nil && !v.joined[m][d.place]
	})
}

// steady reports whether anything should be given up for the sake of evenness: not on account of a database that
// may be about to be found away, that is away for a while, or that the members are about to find back. What is known
// of its outboxes may be older than their last handover, and each handover is a pause.
func (r *groupRun) steady(now time.Time) bool {
	return !slices.ContainsFunc(r.databases, func(d *database) bool {
		if d.away {
			return now.Sub(d.lost) < awayTime
		}
		return !r.fresh(d, now) || d.justBack(now)
	})
}

// claims is how many connections own, or try to own, an outbox.
func (r *groupRun) claims(d *database) (n int) {
	for _, s := range r.stations {
		if s.database == d && s.phase != idle {
			n++
		}
	}
	return n
}

// view puts together what the databases told and what has been begun since. Of a database that is away the last
// that it told counts, as far as it is about processes that are seen elsewhere: its outboxes are most likely
// where they were.
func (r *groupRun) view(now time.Time) (view, []*station) {
	v := view{me: r.me.Number, joined: map[uint32]map[int]bool{}, others: map[uint32]int{}}
	for _, d := range r.databases {
		for _, m := range d.census.Members {
			if d.live {
				if v.joined[m] == nil {
					v.joined[m] = map[int]bool{}
				}
				v.joined[m][d.place] = true
			}
		}
	}
	for _, d := range r.databases {
		for m, n := range d.census.Others {
			if v.joined[m] != nil {
				v.others[m] += n
			}
		}
		for _, m := range d.census.Members {
			if !d.live && v.joined[m] != nil && m != r.me.Number {
				v.joined[m][d.place] = true
			}
		}
	}
	var order []*station
	for _, s := range r.stations {
		if o, counts := r.placed(s, v, now); counts {
			order = append(order, s)
			v.outboxes = append(v.outboxes, o)
		}
	}
	sorted := make([]int, len(order))
	for i := range sorted {
		sorted[i] = i
	}
	slices.SortFunc(sorted, func(a, b int) int { return cmp.Compare(order[a].name, order[b].name) })
	stations, outboxes := make([]*station, len(order)), make([]placed, len(order))
	for to, from := range sorted {
		stations[to], outboxes[to] = order[from], v.outboxes[from]
	}
	v.outboxes = outboxes
	return v, stations
}

// placed is how a station stands in a view; false if it does not count.
func (r *groupRun) placed(s *station, v view, now time.Time) (placed, bool) {
	d := s.database
	o := placed{database: d.place}
	if s.phase != idle && !r.fresh(d, now) && !s.certain() {
		return o, false // It waits for a database that does not answer, and may be another process's by now.
	}
	switch s.phase {
	case claiming, owning:
		o.owner = r.me.Number
		// What cannot be finished could not be given away cleanly.
		o.fixed = s.phase == claiming || now.Before(s.pinned) || s.forwarder.Status().Broker != nil
		return o, true
	case leaving:
		return o, true
	default:
	}
	owner, owned := d.census.Owners[s.table]
	switch {
	case s.gone || !s.fit && !owned:
		return o, false
	case owned && owner == 0: // by somebody outside the group
		return o, false
	case owned && owner != r.me.Number && v.joined[owner] != nil:
		o.owner = owner
	case !owned:
		o.free = d.live
	}
	return o, d.live || o.owner != 0
}

// members takes note of who is there.
func (r *groupRun) members(v view) {
	now := slices.Sorted(maps.Keys(v.joined))
	if slices.Equal(now, r.known) {
		return
	}
	r.known = now
	r.sawMembers(len(now))
	for _, s := range r.stations {
		s.pinned, s.pin = time.Time{}, 0 // Somebody who came may take it.
	}
}

func (g *Group) sawMembers(n int) {
	g.mu.Lock()
	g.seen = n
	g.mu.Unlock()
	if g.gauge != nil {
		g.gauge.Set(float64(n))
	}
}
