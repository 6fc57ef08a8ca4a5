package decorators

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/envelopes/redact"
)

// DefaultTimeout is how long an event that is published on its own may take.
const DefaultTimeout = 5 * time.Second

var (
	// ErrConfig is wrapped by every mistake in a [Config] and in the spec of a function.
	ErrConfig = errors.New("decorators: invalid configuration")
	// ErrNotPublished: the event of a call could not be published. What is wrapped beside it says why.
	ErrNotPublished = errors.New("decorators: the event of the call was not published")
	// ErrNoID: a domain event has no aggregate id, since the function that was to give it gave "" or
	// panicked, as one may that looks into a result which a failed call does not have.
	ErrNoID = errors.New("decorators: the call has no aggregate id: let the id function return one for every call")
)

// Config is what a [Decorator] is made from.
type Config struct {
	// Bus publishes the events. It must not be one that InTx made: the event of a failure could not be
	// written outside the transaction. Required.
	Bus *bus.Bus
	// Redact leaves secrets out of args, results and errors. Default: redact.Default().
	Redact *redact.Redactor
	// Timeout is how long the publishing of an event may take that is not part of a transaction. It counts
	// from the end of the call, whose own deadline and cancellation do not matter. Default: 5 s.
	Timeout time.Duration
	// Metrics, if set, counts what should not happen:
	//
	//	tailrace_decorators_unpublished_events_total{kind,event_type}          events that were lost, or failed their call
	//	tailrace_decorators_incomplete_events_total{kind,event_type,missing}   events without their id, args or result
	//
	// Several Decorators may have the same. Default: none.
	Metrics prometheus.Registerer
	// Logger gets one line an event counted above, without payloads, unless the caller is told by an error.
	// Default: slog.Default().
	Logger *slog.Logger
}

// Decorator decorates functions with events of one Bus. It is safe for concurrent use and has nothing to
// close.
type Decorator struct {
	bus     *bus.Bus
	redact  *redact.Redactor
	timeout time.Duration
	metrics *metrics
	logger  *slog.Logger
}

// New checks the configuration, reporting all mistakes at once, and makes a Decorator.
func New(config Config) (*Decorator, error) {
	var faults []error
	if config.Bus == nil {
		faults = append(faults, fmt.Errorf("%w: Bus is nil: give the Bus that is to publish", ErrConfig))
	}
	if config.Timeout < 0 {
		faults = append(faults, fmt.Errorf("%w: Timeout is %v: give a positive one, or 0 for %v", ErrConfig, config.Timeout, DefaultTimeout))
	}
	counted, err := newMetrics(config.Metrics)
	if err != nil {
		faults = append(faults, fmt.Errorf("%w: Metrics: %w", ErrConfig, err))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	d := &Decorator{
		bus: config.Bus, redact: config.Redact, timeout: cmp.Or(config.Timeout, DefaultTimeout),
		metrics: counted, logger: config.Logger,
	}
	if d.redact == nil {
		d.redact = redact.Default()
	}
	if d.logger == nil {
		d.logger = slog.Default()
	}
	return d, nil
}

// Must returns a decorated function, or panics with the error. It makes one expression of nested decorators,
// in places where a mistake must end the program, as with regexp.MustCompile.
func Must[F any](f F, err error) F {
	if err != nil {
		panic(err)
	}
	return f
}

// Policy says what becomes of a call whose event could not be published outside a transaction. It is counted
// in any case. In a transaction the event of a success is part of the call, which fails with it; and nobody
// waits any more for the event of a failure that is written after Transact's transaction: it is logged.
type Policy uint8

const (
	// PolicyDefault is PolicyReturn for OnSuccess and PolicyLog for the others.
	PolicyDefault Policy = iota
	// PolicyLog logs it; the call's own result and error stand.
	PolicyLog
	// PolicyReturn returns the call's result with an error that wraps [ErrNotPublished] and, after a
	// failure, the call's own.
	PolicyReturn
)
