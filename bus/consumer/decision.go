package consumer

import (
	"context"
	"errors"
	"fmt"

	"github.com/tailrace-go/tailrace/envelopes"
)

var (
	// ErrPermanent is in every error that trying again cannot mend: see [Permanent].
	ErrPermanent = errors.New("permanent")
	// ErrDropped is in every error that is not worth a dead letter: see [Drop].
	ErrDropped = errors.New("dropped")
	// ErrOutage is in every error that is not the message's fault: see [Outage].
	ErrOutage = errors.New("outage")
	// ErrTimeout is in the error of an attempt that failed after its time was up: see [Timeout].
	ErrTimeout = errors.New("consumer: attempt timed out")
	// ErrUnknownType is in the error for an event type that no route of [Dispatch] handles.
	ErrUnknownType = errors.New("no handler for this event type")
)

// Permanent marks an error that the same message will always meet, for instance a business rule it
// breaks: the chain does not retry it and sends the message to the dead letters at once. Permanent(nil)
// is nil. The text stays err's.
//
// An undecodable message (errors.Is(err, envelopes.ErrInvalid)) is permanent without being marked.
func Permanent(err error) error { return mark(err, ErrPermanent) }

// Outage marks an error that says nothing about the message, for instance a database that is away: the
// chain retries it like any other, but when the retries are used up the message is kept (nacked, and
// delivered again) instead of going to the dead letters, however long the outage lasts. Outage(nil) is
// nil. The text stays err's.
//
// Without it, an outage longer than the retries sends every message that arrives meanwhile to the dead
// letters.
func Outage(err error) error { return mark(err, ErrOutage) }

// Drop marks an error of a message that nobody needs any more, for instance an order that expired while
// it waited: the chain acks it at once, without a retry and without a dead letter, and logs and counts
// it. Drop(nil) is nil. The text stays err's.
func Drop(err error) error { return mark(err, ErrDropped) }

// Decision is what is to be done with a message whose handling failed.
type Decision uint8

const (
	// DecideByDefault leaves an error to the rules of the package: an undecodable message
	// (envelopes.ErrInvalid) goes to the dead letters at once, one whose handling was cancelled is kept,
	// and any other is tried again.
	DecideByDefault Decision = iota
	// DecideRetry tries again, and sends the message to the dead letters when the retries are used up.
	DecideRetry
	// DecideDeadLetter is what [Permanent] does.
	DecideDeadLetter
	// DecideKeep is what [Outage] does.
	DecideKeep
	// DecideDrop is what [Drop] does.
	DecideDrop
)

// String returns the decision as it stands in logs.
func (d Decision) String() string {
	switch d {
	case DecideRetry:
		return "retry"
	case DecideDeadLetter:
		return "dead letter"
	case DecideKeep:
		return "keep"
	case DecideDrop:
		return "drop"
	default:
		return "default"
	}
}

// decide is the one place where it is decided what an error means. A mark overrules everything, and
// among several the one that settles the message for good. What is not marked is for classify to
// say, which may be nil.
func decide(err error, classify func(error) Decision) Decision {
	switch {
	case errors.Is(err, ErrDropped):
		return DecideDrop
	case errors.Is(err, ErrPermanent):
		return DecideDeadLetter
	case errors.Is(err, ErrOutage):
		return DecideKeep
	case errors.Is(err, errClassifiedRetry):
		return DecideRetry
	}
	if classify != nil {
		if decision := classify(err); decision != DecideByDefault {
			return decision
		}
	}
	switch {
	case errors.Is(err, envelopes.ErrInvalid):
		return DecideDeadLetter
	case errors.Is(err, ErrTimeout):
		return DecideRetry
	case errors.Is(err, context.Canceled):
		// Somebody's decision to stop, not a fact about the message.
		return DecideKeep
	default:
		return DecideRetry
	}
}

// errClassifiedRetry marks an error that a RetryConfig.Classify gave another meaning than ours.
var errClassifiedRetry = errors.New("to be tried again")

// marked is an error with one of the sentinels beside it, for errors.Is to find.
type marked struct {
	error

	sentinel error
}

func mark(err, sentinel error) error {
	if err == nil {
		return nil
	}
	return marked{err, sentinel}
}

func (m marked) Unwrap() []error { return []error{m.error, m.sentinel} }

// decided marks an error with what was decided about it, for who stands further out.
func decided(err error, decision Decision) error {
	var sentinel error
	switch decision {
	case DecideDeadLetter:
		sentinel = ErrPermanent
	case DecideKeep:
		sentinel = ErrOutage
	case DecideDrop:
		sentinel = ErrDropped
	default:
		sentinel = errClassifiedRetry
	}
	if errors.Is(err, sentinel) || decide(err, nil) == decision {
		return err
	}
	return marked{err, sentinel}
}

// isStopping reports whether the message's context was cancelled, which is how a router shuts down and
// a partition is taken away. A deadline that passed is a fact about the message.
func isStopping(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }

// stopped is the error of a message whose context was cancelled: a context error, so that the router
// nacks the message and logs no error.
func stopped(ctx context.Context, err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("consumer: stopped, the message will be delivered again: %w", err)
	}
	return fmt.Errorf("consumer: stopped, the message will be delivered again: %w (handler: %w)", ctx.Err(), err)
}
