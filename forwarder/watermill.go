package forwarder

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wforwarder "github.com/ThreeDotsLabs/watermill/components/forwarder"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder/internal/sends"
	"github.com/tailrace-go/tailrace/forwarder/internal/settings"
)

// WatermillConfig says how a [WatermillEngine] forwards. DB and Publisher are required.
type WatermillConfig struct {
	// DB is the database that holds the outbox; the engine uses up to three connections. See Config.DB.
	DB *sql.DB
	// Table is the outbox table, with its schema if it is not on the search path. Default event_outbox.
	Table string
	// Publisher gets every event under its destination topic, one at a time. It is the caller's to close.
	Publisher message.Publisher
	// DeadLetterTopic is where Publisher gets the copies of events that spent their attempts. Default
	// marty.dead.letter.queue.
	DeadLetterTopic string
	// Middlewares are put around the handler that publishes, the first outermost. What they see is
	// Watermill's envelope (components/forwarder), not the event itself.
	Middlewares []message.HandlerMiddleware
	// Fault says whose fault an error of Publisher, or of a middleware, is. Default: what the error
	// itself says, if it has a method Fault() [delivery.Fault], as bus/kafka's does; else network
	// errors, timeouts and cancellations are Transport, anything else Refused.
	Fault func(error) delivery.Fault
	// Owner names this process in the state table and in logs. Default host:pid.
	Owner string

	// Lease, StandbyPoll, RetryMin, RetryMax, Retention, PurgeInterval, SweepInterval and DrainTimeout
	// are as in [Config], with the same defaults.
	Lease, StandbyPoll, RetryMin, RetryMax                time.Duration
	Retention, PurgeInterval, SweepInterval, DrainTimeout time.Duration

	// Logger gets the engine's and Watermill's own log. Default slog.Default().
	Logger *slog.Logger
	// Registerer, if set, gets those of [Forwarder]'s metrics that this engine knows: forwarded, refused and
	// dead events by topic, the duration of produces, and purged rows.
	Registerer prometheus.Registerer
	// Tracer, if set, provides the tracer of a span for each event that is sent; see Config.Tracer.
	Tracer trace.TracerProvider
}

// WatermillEngine forwards the outbox with Watermill's own parts: components/forwarder over an
// [outbox.Subscriber], with any Watermill middleware. It keeps the rules of [Forwarder] and shares its
// lock, so that either takes over from the other; but it waits for each event before it takes the next.
type WatermillEngine struct {
	config     WatermillConfig
	subscriber outbox.SubscriberConfig
	store      *outbox.Store
	metrics    *metrics

	mu      sync.Mutex
	current *outbox.Subscriber
	state   State
}

// NewWatermillEngine checks the configuration, reporting every mistake at once, and starts nothing.
func NewWatermillEngine(config WatermillConfig) (*WatermillEngine, error) {
	var faults settings.Faults
	faults.If(config.Publisher == nil, "the Publisher is nil: pass a bus/kafka Publisher, or any other of Watermill's")
	faults.DeadLetterTopic(&config.DeadLetterTopic)
	faults.Duration("StandbyPoll", &config.StandbyPoll, 200*time.Millisecond)
	faults.Duration("Retention", &config.Retention, 7*24*time.Hour)
	faults.Duration("PurgeInterval", &config.PurgeInterval, time.Minute)
	faults.Duration("DrainTimeout", &config.DrainTimeout, 15*time.Second)
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	if config.Fault == nil {
		config.Fault = toldFault
	}
	e := &WatermillEngine{config: config, state: Stopped, subscriber: outbox.SubscriberConfig{
		DB: config.DB, Table: config.Table, Owner: config.Owner, Lease: config.Lease, StandbyPoll: config.StandbyPoll,
		RetryMin: config.RetryMin, RetryMax: config.RetryMax, SweepInterval: config.SweepInterval, CloseTimeout: config.DrainTimeout,
		Fault: config.Fault, DeadLetters: config.Publisher, DeadLetterTopic: config.DeadLetterTopic,
	}}
	if config.Publisher == nil {
		e.subscriber.DeadLetterTopic = "" // One mistake is told once.
	}
	_, err := outbox.NewSubscriber(e.subscriber, nil)
	faults.Add(err)
	if err := faults.Err("forwarder"); err != nil {
		return nil, err
	}
	if err := e.observe(); err != nil {
		return nil, err
	}
	return e, nil
}

// observe has the engine's work counted and traced.
func (e *WatermillEngine) observe() (err error) {
	if e.store, err = outbox.NewStore(e.config.DB, e.config.Table); err != nil {
		return err
	}
	if e.metrics, err = newMetrics(nil, cmp.Or(e.config.Table, outbox.DefaultTable)); err != nil {
		return err
	}
	if e.config.Registerer != nil {
		if err := register(e.config.Registerer, e.metrics.known()); err != nil {
			return err
		}
	}
	e.config.Publisher = observed{
		Publisher: e.config.Publisher, metrics: e.metrics, sends: sends.New(e.config.Tracer),
		fault: e.config.Fault, deadLetters: e.config.DeadLetterTopic,
	}
	e.subscriber.DeadLetters = e.config.Publisher
	return nil
}

func toldFault(err error) delivery.Fault {
	var told interface{ Fault() delivery.Fault }
	if errors.As(err, &told) {
		return told.Fault()
	}
	return publisherFault(err)
}

// Run forwards until ctx ends, then lets the event in hand finish, settles it and gives the outbox back.
// It returns nil after a clean stop, and an error when the event did not finish within DrainTimeout or
// when the outbox table is not there or not fit (errors.Is with the errors of bus/outbox). Losing the
// database or the broker ends nothing.
func (e *WatermillEngine) Run(ctx context.Context) error {
	e.mu.Lock()
	if e.state != Stopped {
		e.mu.Unlock()
		return ErrRunning
	}
	e.state = Standby
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.state, e.current = Stopped, nil
	}()
	if err := e.await(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	logger := watermill.NewSlogLogger(e.config.Logger)
	subscriber, err := outbox.NewSubscriber(e.subscriber, logger)
	if err != nil {
		return err
	}
	defer func() { _ = subscriber.Close() }()
	e.mu.Lock()
	e.current = subscriber
	e.mu.Unlock()
	defer e.purge(ctx)()

	middlewares := append([]message.HandlerMiddleware{outbox.NoteFailures}, e.config.Middlewares...)
	f, err := wforwarder.NewForwarder(subscriber, e.config.Publisher, logger, wforwarder.Config{
		ForwarderTopic: outbox.ForwarderTopic, Middlewares: middlewares,
		// The subscriber gives up first, and it knows which event it was.
		CloseTimeout: e.config.DrainTimeout + 5*time.Second,
	})
	if err != nil {
		return fmt.Errorf("forwarder: make Watermill's forwarder: %w", err)
	}
	ended := make(chan error, 1)
	// Under ctx the router would close itself and only log a drain that failed.
	go func() { ended <- f.Run(context.WithoutCancel(ctx)) }()
	select {
	case err := <-ended:
		return fmt.Errorf("forwarder: Watermill's router ended by itself: %w", cmp.Or(err, errRouterEnded))
	case <-ctx.Done():
	}
	select {
	case <-f.Running():
	case err := <-ended:
		return err
	}
	closed := f.Close()
	if err := <-ended; err != nil {
		closed = errors.Join(closed, err)
	}
	if !subscriber.Drained() {
		closed = errors.Join(closed, errors.New("the event in hand was not finished; it will be sent again"))
	}
	if closed != nil {
		return fmt.Errorf("forwarder: stop within %v: %w", e.config.DrainTimeout, closed)
	}
	return nil
}

var errRouterEnded = errors.New("no error told")

// await returns once the table is fit to be forwarded. A database that is away is waited for.
func (e *WatermillEngine) await(ctx context.Context) error {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := outbox.Check(ctx, e.config.DB, e.config.Table)
		if err == nil || ctx.Err() != nil {
			return nil //nolint:nilerr // Told to stop while it waited: a clean stop.
		}
		if unfit(err) {
			return err
		}
		e.config.Logger.Warn("the outbox can't be looked at; trying again", "error", err, "retry_in", pause)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// purge deletes old processed rows beside the forwarding, as [Forwarder] does, while the subscriber owns the outbox.
func (e *WatermillEngine) purge(ctx context.Context) (stop func()) {
	f := &Forwarder{store: e.store, metrics: e.metrics, config: Config{
		PurgeInterval: e.config.PurgeInterval, Retention: e.config.Retention, Logger: e.config.Logger,
	}}
	ctx, cancel := context.WithCancel(ctx)
	var purging sync.WaitGroup
	purging.Go(func() { f.purge(ctx, func() bool { return e.Status().State == Owner }) })
	return func() { cancel(); purging.Wait() }
}

// Status returns what the engine is doing now. It does not count what is in flight or waits.
func (e *WatermillEngine) Status() Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := Status{State: e.state}
	if e.current != nil {
		now := e.current.State()
		s.Database, s.Broker = now.Database, now.Transport
		if now.Owner {
			s.State = Owner
		}
	}
	return s
}
