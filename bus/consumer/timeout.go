package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/internal/deadline"
)

// DefaultTimeout is how long one attempt may take.
const DefaultTimeout = 15 * time.Second

// Timeout ends the message's context d after an attempt began; zero is [DefaultTimeout], negative is no
// limit. A handler that ignores its context is not interrupted: Go has no way to. An attempt that
// failed after the limit returns an error that is [ErrTimeout] and the handler's own.
//
// It belongs inside [Retry], where it is a limit of each attempt, and outside [Recoverer]. It gives the
// message its own context back afterwards; Watermill's Timeout leaves the ended one, and whatever runs
// further out (a dead-letter publisher, say) then takes the timeout for a shutdown. What the handler returns
// may be published under the message's own context, too, with the values that its own has.
func Timeout(d time.Duration) message.HandlerMiddleware {
	if d == 0 {
		d = DefaultTimeout
	}
	cause := fmt.Errorf("%w after %s", ErrTimeout, d)
	return func(next message.HandlerFunc) message.HandlerFunc {
		if d < 0 {
			return next
		}
		return func(msg *message.Message) ([]*message.Message, error) {
			outer := msg.Context()
			d, cause := d, cause
			if limit, ok := attemptLimit(outer); ok && limit < d {
				d, cause = limit, fmt.Errorf("%w after %s", ErrTimeout, limit)
			}
			ctx := deadline.After(outer, d, cause)
			defer ctx.Release()
			msg.SetContext(ctx)
			defer msg.SetContext(outer)

			produced, err := next(msg)
			if err != nil && ctx.Err() != nil && errors.Is(context.Cause(ctx), cause) {
				err = fmt.Errorf("%w: %w", cause, err)
			}
			ctx.Release()
			outlive(outer, msg, produced)
			return produced, err
		}
	}
}

// outlive gives messages that the handler made under the attempt's context the lifetime of the message's
// own: the router publishes them after the attempt, and a publisher that heeds an ended context would
// refuse them each time.
func outlive(ctx context.Context, msg *message.Message, produced []*message.Message) {
	for _, out := range produced {
		if out == msg || ctx.Err() != nil || out.Context().Err() == nil {
			continue
		}
		lasting, cancel := context.WithCancelCause(context.WithoutCancel(out.Context()))
		context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
		out.SetContext(lasting)
	}
}
