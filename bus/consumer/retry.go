package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
)

// RetryConfig says how often and how soon a failed message is tried again. The zero value retries 8
// times within 30 seconds, after about 100 ms, 200 ms, 400 ms and so on.
type RetryConfig struct {
	// MaxRetries is how many attempts follow the first; default 8, negative for none.
	MaxRetries int
	// InitialInterval is the wait before the first retry; default 100 ms.
	InitialInterval time.Duration
	// MaxInterval caps the wait; default 10 s.
	MaxInterval time.Duration
	// Multiplier is the growth of the wait from one retry to the next, at least 1; default 2.
	Multiplier float64
	// MaxElapsed is the time since the first attempt began after which no other begins; default 30 s,
	// negative for no limit. The partition waits meanwhile, so the chain bounds it by
	// Config.RebalanceTimeout, less what the last attempt and its dead letter may take; [Retry] alone does
	// not.
	MaxElapsed time.Duration
	// Classify decides about errors that cannot be wrapped where they are made, for instance a database
	// driver's. It is not asked about errors that are marked ([Permanent], [Outage], [Drop]), and overrules
	// the package's own rules. Nil decides nothing.
	Classify func(error) Decision
	// Logger is told of each failed attempt that will be repeated; nil logs nothing.
	Logger watermill.LoggerAdapter
}

// Validate returns every fault of the configuration, joined.
func (c RetryConfig) Validate() error {
	var faults []error
	if c.InitialInterval < 0 {
		faults = append(faults, fmt.Errorf("consumer: Retry.InitialInterval is %s: must not be negative", c.InitialInterval))
	}
	if c.MaxInterval < 0 {
		faults = append(faults, fmt.Errorf("consumer: Retry.MaxInterval is %s: must not be negative", c.MaxInterval))
	}
	if c.Multiplier != 0 && !(c.Multiplier >= 1) { // also refuses NaN
		faults = append(faults, fmt.Errorf("consumer: Retry.Multiplier is %v: must be 1 or more", c.Multiplier))
	}
	return errors.Join(faults...)
}

func (c RetryConfig) withDefaults() RetryConfig {
	c.MaxRetries = cmp.Or(c.MaxRetries, 8)
	c.InitialInterval = cmp.Or(c.InitialInterval, 100*time.Millisecond)
	c.MaxInterval = cmp.Or(c.MaxInterval, 10*time.Second)
	c.Multiplier = cmp.Or(c.Multiplier, 2)
	c.MaxElapsed = cmp.Or(c.MaxElapsed, 30*time.Second)
	if c.Logger == nil {
		c.Logger = watermill.NopLogger{}
	}
	return c
}

// Retry tries a failed message again, with exponential backoff and jitter: each wait is between half
// and one and a half times its nominal length. Every attempt starts with the message's context as it
// was before the first. [Permanent], [Drop] and undecodable messages are not retried, nor is anything once
// the message's context has ended. The error returned is the last attempt's, or a context error if the
// context ended.
//
// Watermill's own Retry asks its backoff for a delay twice a failure when it has a ShouldRetry, so the
// waits grow by the square of the multiplier, and does not tell a dead letter what it did.
func Retry(config RetryConfig) (message.HandlerMiddleware, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	config = config.withDefaults()
	return func(next message.HandlerFunc) message.HandlerFunc {
		return func(msg *message.Message) ([]*message.Message, error) {
			return config.run(next, msg)
		}
	}, nil
}

func (c RetryConfig) run(next message.HandlerFunc, msg *message.Message) ([]*message.Message, error) {
	ctx, record := withAttempts(msg.Context(), msg)
	defer msg.SetContext(ctx)
	began := time.Now()
	elapsed := c.MaxElapsed
	if record.budget != nil {
		elapsed = record.budget.elapsed
	}
	for interval := min(c.InitialInterval, c.MaxInterval); ; interval = c.grow(interval) {
		msg.SetContext(ctx)
		produced, err := next(msg)
		if err == nil {
			return produced, nil
		}
		record.failed()
		if isStopping(ctx) {
			return nil, stopped(ctx, err)
		}
		decision := decide(err, c.Classify)
		wait := jitter(interval)
		if ctx.Err() != nil || decision == DecideDeadLetter || decision == DecideDrop ||
			record.number > c.MaxRetries || elapsed >= 0 && time.Since(began)+wait > elapsed {
			return nil, decided(err, decision)
		}
		c.Logger.Info("Handler failed, trying again", watermill.LogFields{
			"err": err.Error(), "attempt": record.number, "wait": wait.String(),
			"message_uuid": msg.UUID, "handler_name": message.HandlerNameFromCtx(ctx),
		})
		if sleep(ctx, wait); isStopping(ctx) {
			return nil, stopped(ctx, err)
		}
		record.number++
	}
}

// grow multiplies in floating point and compares before it converts: the product may exceed a Duration.
func (c RetryConfig) grow(interval time.Duration) time.Duration {
	grown := float64(interval) * c.Multiplier
	if grown >= float64(c.MaxInterval) {
		return c.MaxInterval
	}
	return time.Duration(grown)
}

// jitter spreads the retries of messages that failed together.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d+1)
}

// sleep waits for d or for the end of the context.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
