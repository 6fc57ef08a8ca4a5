package decorators

import (
	"context"
	"errors"
	"fmt"

	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/internal/deadline"
)

// none stands for the input and the result that a function does not have.
type none struct{}

// hook publishes what a call did. All shapes are made one: an input and a result.
type hook[In, Out any] struct {
	*Decorator
	// kind and eventType are for logs and counters.
	kind, eventType string
	// returns: outside a transaction, too, the caller learns of an event that was not published.
	returns bool
	// success and failure make the event, nil for none.
	success func(ctx context.Context, in In, out Out) (envelopes.Event, error)
	failure func(ctx context.Context, in In, out Out, failed failure) (envelopes.Event, error)
}

// around returns f with the hook.
func (h *hook[In, Out]) around(f func(context.Context, In) (Out, error)) func(context.Context, In) (Out, error) {
	if h.failure == nil {
		return func(ctx context.Context, in In) (Out, error) {
			out, err := f(ctx, in)
			if err == nil {
				err = h.succeeded(ctx, in, out)
			}
			return out, err
		}
	}
	return func(ctx context.Context, in In) (out Out, err error) {
		returned := false
		defer func() {
			if returned {
				return
			}
			ended := failure{typ: "runtime.Goexit", message: "the call ended its goroutine"}
			if value := recover(); value != nil {
				ended = panicked(value)
				// Whatever publishing does, the panic goes on with the value it had.
				defer panic(value)
			}
			_ = h.failed(ctx, in, out, ended, false)
		}()
		out, err = f(ctx, in)
		returned = true
		switch {
		case err != nil:
			if unpublished := h.failed(ctx, in, out, failure{err: err}, h.returns); unpublished != nil {
				err = errors.Join(err, unpublished)
			}
		case h.success != nil:
			err = h.succeeded(ctx, in, out)
		}
		return out, err
	}
}

// succeeded publishes the event of a success: in the context's transaction, or on its own. Its error is the
// call's.
func (h *hook[In, Out]) succeeded(ctx context.Context, in In, out Out) error {
	_, joined := h.bus.TxFrom(ctx)
	event, err := h.success(ctx, in, out)
	if err == nil {
		within := ctx
		if !joined {
			on := h.detached(ctx)
			defer on.Release()
			within = on
		}
		_, err = h.bus.PublishAll(within, event)
	}
	if err == nil {
		return nil
	}
	return h.unpublished(ctx, err, joined || h.returns)
}

// failed publishes the event of a failure, outside any transaction: after it, if Transact will end it, for
// then its connection is free; else on another connection. Returns says that there is a caller to tell of an
// event that was not published.
func (h *hook[In, Out]) failed(ctx context.Context, in In, out Out, failed failure, returns bool) error {
	event, err := h.failure(ctx, in, out, failed)
	publish := func(returns bool) error {
		if err == nil {
			on := h.detached(ctx)
			defer on.Release()
			_, err = h.bus.PublishAll(on, event)
		}
		if err == nil {
			return nil
		}
		return h.unpublished(ctx, err, returns)
	}
	if h.bus.AfterTx(ctx, func(bool) { _ = publish(false) }) {
		return nil
	}
	return publish(returns)
}

// detached is a context for an event that must be published although the call is over: it has the call's values,
// but neither its transaction nor its end, and a deadline of its own.
func (d *Decorator) detached(ctx context.Context) *deadline.Context {
	return deadline.After(context.WithoutCancel(d.bus.WithoutTx(ctx)), d.timeout, nil)
}

// unpublished counts an event that is lost, and returns the error or logs it.
func (h *hook[In, Out]) unpublished(ctx context.Context, err error, returns bool) error {
	h.metrics.unpublished.WithLabelValues(h.kind, h.eventType).Inc()
	err = fmt.Errorf("%w (%s %s): %w", ErrNotPublished, h.kind, h.eventType, err)
	if returns {
		return err
	}
	h.logger.ErrorContext(ctx, "the event of a call was not published", "kind", h.kind, "event_type", h.eventType, "error", err)
	return nil
}

// incomplete counts and logs that an event lacks something.
func (h *hook[In, Out]) incomplete(ctx context.Context, missing, why string) {
	h.metrics.incomplete.WithLabelValues(h.kind, h.eventType, missing).Inc()
	h.logger.WarnContext(ctx, "the event of a call is incomplete", "kind", h.kind, "event_type", h.eventType, "missing", missing, "why", why)
}

// id is what the caller's function says, "" if there is none or it panics.
func (h *hook[In, Out]) id(ctx context.Context, of func(In, Out) string, in In, out Out) (id string) {
	if of == nil {
		return ""
	}
	why := "the function returned none"
	defer func() {
		if value := recover(); value != nil {
			id, why = "", fmt.Sprintf("the function panicked with a %T", value)
		}
		if id == "" {
			h.incomplete(ctx, "id", why)
		}
	}()
	return of(in, out)
}
