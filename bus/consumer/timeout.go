package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// DefaultTimeout is how long one attempt may take.
const DefaultTimeout = 15 * time.Second

// Timeout ends the message's context d after an attempt began; zero is [DefaultTimeout], negative is no
// limit. A handler that ignores its context is not interrupted: Go has no way to. An attempt that
// failed after the limit returns an error that is [ErrTimeout] and the handler's own.
//
// It belongs inside [Retry], where it is a limit of each attempt, and outside [Recoverer]. It gives the
// message its own context back afterwards; Watermill's Timeout leaves the ended one, and whatever runs
// further out (a dead-letter publisher, say) then takes the timeout for a shutdown.
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
			ctx, cancel := context.WithTimeoutCause(outer, d, cause)
			defer cancel()
			msg.SetContext(ctx)
			defer msg.SetContext(outer)

			produced, err := next(msg)
			if err != nil && errors.Is(context.Cause(ctx), cause) {
				err = fmt.Errorf("%w: %w", cause, err)
			}
			return produced, err
		}
	}
}
