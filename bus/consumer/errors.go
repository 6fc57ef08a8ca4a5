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

// isPermanent reports whether another attempt is pointless.
func isPermanent(err error) bool {
	return errors.Is(err, ErrPermanent) || errors.Is(err, envelopes.ErrInvalid)
}

// isKept reports whether the message must not be given up for this error. A cancellation is somebody's
// decision to stop, not a fact about the message, unless our own Timeout made it; Permanent overrules
// both, since only the handler can know better.
func isKept(err error) bool {
	switch {
	case isPermanent(err):
		return false
	case errors.Is(err, ErrOutage):
		return true
	default:
		return errors.Is(err, context.Canceled) && !errors.Is(err, ErrTimeout)
	}
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
