package forwarder

import (
	"errors"
	"fmt"
	"strings"
)

// GroupStatus is a snapshot of a group's health, as one process sees it.
type GroupStatus struct {
	// Members is how many processes share out the outboxes, this one included; 0 while it reaches no database.
	Members int
	// Outboxes are those that this process serves, in the order of the configuration.
	Outboxes []OutboxStatus
}

// OutboxStatus is how an outbox of a [Group] stands in this process.
type OutboxStatus struct {
	Name, Table string
	Status
}

// Status returns what the group is doing now.
func (g *Group) Status() GroupStatus {
	g.mu.Lock()
	defer g.mu.Unlock()
	status := GroupStatus{Members: g.seen}
	for _, s := range g.stations {
		status.Outboxes = append(status.Outboxes, OutboxStatus{s.name, s.table, s.forwarder.Status()})
	}
	return status
}

// Owned is how many outboxes this process owns.
func (s GroupStatus) Owned() (n int) {
	for _, o := range s.Outboxes {
		if o.State == Owner {
			n++
		}
	}
	return n
}

// Ready returns nil while the process can do its part: for each outbox it does [Status.Ready].
func (s GroupStatus) Ready() error {
	var faults []error
	for _, o := range s.Outboxes {
		err := o.Ready()
		if err != nil && len(s.Outboxes) > 1 {
			err = &OutboxError{o.Name, o.Table, err}
		}
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// String returns the status on one line, and with several outboxes one more for each.
func (s GroupStatus) String() string {
	if len(s.Outboxes) == 1 {
		return s.Outboxes[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d outboxes owned, %d members", s.Owned(), len(s.Outboxes), s.Members)
	for _, o := range s.Outboxes {
		fmt.Fprintf(&b, "\n%s: %s", o.Name, o.Status)
	}
	return b.String()
}

// OutboxError is an error about one of a Group's outboxes, when it has several.
type OutboxError struct {
	Name, Table string
	Err         error
}

// Error names the outbox.
func (e *OutboxError) Error() string { return fmt.Sprintf("outbox %s: %v", e.Name, e.Err) }

// Unwrap returns what went wrong.
func (e *OutboxError) Unwrap() error { return e.Err }
