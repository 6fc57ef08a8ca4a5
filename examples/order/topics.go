package main

import (
	"errors"

	"github.com/tailrace-go/tailrace/examples/order/events"
)

// names are the topics, complete with their prefix.
type names struct{ audit, notification, placed, billed, confirmed, deadLetters string }

func (a *app) topics() (n names, err error) {
	naming := a.settings.Topics()
	var faults [6]error
	n.audit, faults[0] = naming.Audit()
	n.notification, faults[1] = naming.Notification()
	n.placed, faults[2] = events.OrderPlaced.Topic(naming, events.Orders)
	n.billed, faults[3] = events.OrderBilled.Topic(naming, events.Billing)
	n.confirmed, faults[4] = events.OrderConfirmed.Topic(naming, events.Orders)
	n.deadLetters, faults[5] = naming.DeadLetter()
	return n, errors.Join(faults[:]...)
}

func (n names) all() []string {
	return []string{n.audit, n.notification, n.placed, n.billed, n.confirmed, n.deadLetters}
}
