package consumer

import (
	"context"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// attempts is the record of one delivery. The outermost middleware of ours puts it into the message's
// context, Retry fills it in; a message is handled by one goroutine, so it needs no lock.
type attempts struct {
	// of is the message, and handler who handles it.
	of      *message.Message
	handler string
	// number is the attempt that runs, from 1.
	number      int
	first, last time.Time
	// outcome and cause are as attempt noted says.
	outcome Outcome
	cause   error
	noted   int
	// budget bounds the delivery, nil outside the chain.
	budget *budget
}

type attemptsKey struct{}

// withAttempts returns the record of the message's delivery that its context ctx has, made if it has none. One
// of another handler's came with the context of the message that this one was published for, as gochannel can
// keep it; a middleware's copy of the message is the same delivery.
func withAttempts(ctx context.Context, msg *message.Message) (context.Context, *attempts) {
	record, ok := ctx.Value(attemptsKey{}).(*attempts)
	if ok && (record.of == msg || record.handler == message.HandlerNameFromCtx(ctx)) {
		return ctx, record
	}
	record = &attempts{of: msg, handler: message.HandlerNameFromCtx(ctx), number: 1}
	return context.WithValue(ctx, attemptsKey{}, record), record
}

// failed notes that the running attempt failed just now.
func (a *attempts) failed() {
	a.last = time.Now()
	if a.first.IsZero() {
		a.first = a.last
	}
}

// Attempt returns which attempt at the message this is, from 1, counted since its last delivery. It is 1
// outside the chain.
func Attempt(ctx context.Context) int {
	if record, ok := ctx.Value(attemptsKey{}).(*attempts); ok {
		return record.number
	}
	return 1
}

// attemptLimit returns how long an attempt may take by the delivery's budget.
func attemptLimit(ctx context.Context) (time.Duration, bool) {
	record, ok := ctx.Value(attemptsKey{}).(*attempts)
	if !ok || record.budget == nil || record.budget.attempt < 0 {
		return 0, false
	}
	return record.budget.attempt, true
}
