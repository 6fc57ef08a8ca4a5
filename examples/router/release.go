package main

import (
	"context"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"golang.org/x/sync/errgroup"

	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/decorators"
)

// release is a process of the service.
type release struct {
	*service

	knowsCoupons bool
}

// router has the chain around every handler, and the decorators around what handlers return.
func (r *release) router() (*message.Router, error) {
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: 10 * time.Second}, watermill.NopLogger{})
	if err != nil {
		return nil, err
	}
	router.AddPlugin(consumer.Plugin(consumer.Config{
		DeadLetter: consumer.DeadLetterConfig{Publisher: r.publisher, Naming: r.settings.Topics()},
		Retry:      consumer.RetryConfig{MaxRetries: 2, InitialInterval: 20 * time.Millisecond},
	}))
	router.AddMiddleware(r.verdicts) // outside the chain, where an error means that the message is kept
	router.AddPublisherDecorators(   // the first is the innermost
		decorators.PublisherMetrics(r.metrics),
		decorators.PublisherValidation(decorators.PublisherValidationConfig{Envelopes: true}),
		decorators.PublisherCorrelation(),
	)
	return router, r.add(router)
}

// verdicts sees how the handling of each message ended.
func (r *release) verdicts(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		produced, err := next(msg)
		if err != nil {
			r.tally.add(message.HandlerNameFromCtx(msg.Context())+", kept", msg.UUID)
		}
		return produced, err
	}
}

// run runs the release until what is wanted was counted, and stops it: the router reads no more, and
// waits for the handlers.
func (r *release) run(ctx context.Context, wanted map[string]int) error {
	router, err := r.router()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return router.Run(ctx) })
	group.Go(func() error {
		defer stop()
		return r.tally.await(ctx, wanted)
	})
	return group.Wait()
}
