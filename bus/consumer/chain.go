package consumer

import (
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
)

// Config is the configuration of the whole chain. Only DeadLetter.Publisher must be set.
type Config struct {
	// DeadLetter says where the messages go that cannot be handled.
	DeadLetter DeadLetterConfig
	// Retry says how often and how soon a failed message is tried again.
	Retry RetryConfig
	// Timeout is how long one attempt may take; default [DefaultTimeout], negative for no limit.
	Timeout time.Duration
	// RebalanceTimeout is how long the consumer group waits for a busy member before it throws it out;
	// default [DefaultRebalanceTimeout], negative for subscribers without groups. All attempts at a message
	// and its dead letter together take less: a configuration that could take longer is a fault, and where
	// a subscriber says that its group waits less (bus/kafka's does), everything is shortened to fit.
	RebalanceTimeout time.Duration
	// Tracer provides the tracer of a span for each delivery (see [Tracing]); nil is OpenTelemetry's global
	// one. NoTracing makes no spans; traces are continued all the same.
	Tracer    trace.TracerProvider
	NoTracing bool
	// Metrics, if set, gets the chain's metrics (see [Metrics]).
	Metrics prometheus.Registerer
	// Logger is the logger of those parts that have none of their own; default the router's with
	// [Plugin], none with [Chain].
	Logger watermill.LoggerAdapter
}

// Validate returns every fault of the configuration, joined.
func (c Config) Validate() error {
	return errors.Join(c.DeadLetter.Validate(), c.Retry.Validate(), c.budget().fault())
}

// Plugin adds the chain to every handler of a router when it starts to run:
//
//	router.AddPlugin(consumer.Plugin(consumer.Config{DeadLetter: consumer.DeadLetterConfig{Publisher: publisher}}))
//
// A faulty configuration is Router.Run's error. Middleware that was added to the router or to a handler
// before Run stands outside the chain, where an error is final: what should see each attempt goes around
// the handler itself, or after router.AddMiddleware with [Chain].
func Plugin(config Config) message.RouterPlugin {
	return func(router *message.Router) error {
		if config.Logger == nil {
			config.Logger = router.Logger()
		}
		chain, err := Chain(config)
		if err != nil {
			return err
		}
		router.AddMiddleware(chain...)
		return nil
	}
}

// Chain returns the middlewares in the order in which Router.AddMiddleware wants them, outermost first:
// [Metrics] and [Tracing] as configured, [DeadLetter], [Correlation], [Retry], [Timeout], [Recoverer].
func Chain(config Config) ([]message.HandlerMiddleware, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("consumer: cannot build the chain: %w", err)
	}
	if config.DeadLetter.Logger == nil {
		config.DeadLetter.Logger = config.Logger
	}
	if config.Retry.Logger == nil {
		config.Retry.Logger = config.Logger
	}
	budget := config.budget()
	config.DeadLetter.budget = &budget
	deadLetter, err := DeadLetter(config.DeadLetter)
	if err != nil {
		return nil, err
	}
	retry, err := Retry(config.Retry)
	if err != nil {
		return nil, err
	}
	var chain []message.HandlerMiddleware
	if config.Metrics != nil {
		metrics, err := Metrics(config.Metrics)
		if err != nil {
			return nil, err
		}
		chain = append(chain, metrics)
	}
	if !config.NoTracing {
		chain = append(chain, Tracing(config.Tracer))
	}
	chain = append(chain, deadLetter, Correlation, retry)
	if !config.NoTracing {
		chain = append(chain, failedAttempts)
	}
	return append(chain, Timeout(config.Timeout), Recoverer), nil
}
