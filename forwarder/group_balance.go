package forwarder

import (
	"cmp"
	"maps"
	"slices"
)

// view is what a process knows of its group at one moment: the servers' truth, with what it has begun itself
// since. The processes plan by the same rule, so they mostly agree; where their views differ for a moment, the
// locks decide and the next view corrects.
type view struct {
	me uint32
	// joined are the databases, by their place in the configuration, in which each member has a session: where
	// it can own outboxes.
	joined map[uint32]map[int]bool
	// others is how many outboxes a member owns that this process does not serve.
	others map[uint32]int
	// outboxes are those that this process serves, in an order that all processes share. One that is owned by
	// somebody who is no member (a Forwarder outside the group, another engine) is not among them.
	outboxes []placed
}

// placed is an outbox in a view.
type placed struct {
	database int
	// owner is the member that has it; 0: nobody, or one that gives it back or is gone.
	owner uint32
	// free: nobody holds its lock, so that it can be claimed now.
	free bool
	// fixed: its owner cannot give it away now. Known of one's own only.
	fixed bool
}

// plan is what the process that has the view should do, as places in outboxes.
type plan struct{ claim, release []int }

// plan spreads the outboxes evenly over the members, moving as few as possible: nobody gives anything away
// while no member has two more than another that could take it.
//
// What nobody has goes to whoever has the least. Then, while some member has at least two more than another,
// one outbox moves from the one with most (of several: the lowest number) to the one with least. The process
// does its own part of that: it claims what is free and falls to it, and releases what moves away from it.
// Who is to have what was released is not said anywhere: everybody finds it by the same rule.
func (v view) plan() plan {
	load := maps.Clone(v.others)
	if load == nil {
		load = map[uint32]int{}
	}
	members := slices.Sorted(maps.Keys(v.joined))
	owner := make([]uint32, len(v.outboxes))
	for i, o := range v.outboxes {
		if owner[i] = o.owner; owner[i] != 0 {
			load[owner[i]]++
		}
	}
	for i, o := range v.outboxes {
		if owner[i] != 0 {
			continue
		}
		to := v.least(members, load, o.database)
		if to == 0 {
			continue // nobody can reach its database
		}
		owner[i] = to
		load[to]++
	}
	for i, to := v.move(members, load, owner); to != 0; i, to = v.move(members, load, owner) {
		load[owner[i]]--
		load[to]++
		owner[i] = to
	}
	var p plan
	for i, o := range v.outboxes {
		switch {
		case o.owner == 0 && o.free && owner[i] == v.me:
			p.claim = append(p.claim, i)
		case o.owner == v.me && owner[i] != v.me:
			p.release = append(p.release, i)
		}
	}
	return p
}

// least is the member with the fewest outboxes of those in a database, of several the lowest number; 0 for none.
func (v view) least(members []uint32, load map[uint32]int, database int) (least uint32) {
	for _, m := range members {
		if v.joined[m][database] && (least == 0 || load[m] < load[least]) {
			least = m
		}
	}
	return least
}

// move is the next outbox to move and to whom; to is 0 when all is even.
func (v view) move(members []uint32, load map[uint32]int, owner []uint32) (outbox int, to uint32) {
	byLoad := slices.Clone(members)
	slices.SortStableFunc(byLoad, func(a, b uint32) int { return cmp.Compare(load[b], load[a]) })
	for _, from := range byLoad {
		for i, o := range v.outboxes {
			if owner[i] != from || o.fixed {
				continue
			}
			if to := v.least(members, load, o.database); to != 0 && load[to]+2 <= load[from] {
				return i, to
			}
		}
	}
	return 0, 0
}
