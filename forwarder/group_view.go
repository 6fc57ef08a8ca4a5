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
	// patiencePolls is how many polls an outbox may be free before anybody takes it, whoever's it should be.
	patiencePolls = 4
)

// saw takes what a database told.
func (r *groupRun) saw(s sighting) {
	if r.ended {
		return
	}
	d := s.from
	if s.err != nil {
		if d.live || d.seen == 0 {
			r.log.Warn("the database is away; trying until it is back", "error", s.err, "outboxes", r.namesIn(d))
		}
		d.live, d.seen = false, 0
	} else {
		d.live, d.census = true, s.census
		d.seen++
	}
	for _, station := range r.stations {
		if station.database == d && station.phase == idle && station.fault == nil {
			station.forwarder.status.set(func(now *Status) { now.State, now.Database = Standby, s.err })
		}
	}
	r.share(time.Now())
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
		case !r.mayTake(s, now):
		case mine:
			r.take(s)
		case now.Sub(s.freeSince) > patiencePolls*r.config.StandbyPoll:
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
func (r *groupRun) mayTake(s *station, now time.Time) bool {
	d := s.database
	if !d.live || !s.fit || s.gone || s.phase != idle || now.Before(s.notBefore) {
		return false
	}
	if d.seen == 1 && len(r.stations) > 1 {
		return false // Others may be starting, too: who is here a moment later shares from the start.
	}
	// A claim holds its connection; with none left, nothing could be settled.
	most := d.db.Stats().MaxOpenConnections
	return most == 0 || r.claims(d) < most-connections
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
