package bus

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/internal/telemetry"
	"github.com/tailrace-go/tailrace/topics"
)

// Bus publishes events. It is safe for concurrent use and has nothing to close.
type Bus struct {
	core *core
	// bound says that tx was given by InTx, so that a nil one is noticed.
	bound bool
	tx    Tx
}

// core is shared by a Bus and its derived copies; its address is the Bus's identity in a context.
type core struct {
	Config
	spans   *telemetry.Spans // nil makes none
	metrics *metrics         // nil counts nothing
}

// Service returns the name of the publishing service.
func (b *Bus) Service() string { return b.core.Service }

// Topics returns how topics are named.
func (b *Bus) Topics() topics.Naming { return b.core.Topics }

// Outboxed reports whether events go through an outbox.
func (b *Bus) Outboxed() bool { return b.core.Outbox != nil }

// PublishAudit publishes an audit event and returns its id.
//
// The errors of all publishing methods: one that wraps envelopes.ErrInvalid or topics.ErrInvalid for an
// event that is not right, before anything was written; with an outbox [ErrDuplicate], sql.ErrTxDone and
// those of outbox.Writer; else that of the Publisher. An error of the context stays visible.
func (b *Bus) PublishAudit(ctx context.Context, event envelopes.Audit) (string, error) {
	return b.publishOne(ctx, event)
}

// PublishNotification publishes a notification and returns its id.
func (b *Bus) PublishNotification(ctx context.Context, event envelopes.Notification) (string, error) {
	return b.publishOne(ctx, event)
}

// PublishDomain publishes a domain event and returns its id. Its topic has the Bus's service in it, also
// when the event's own metadata names another.
func (b *Bus) PublishDomain(ctx context.Context, event envelopes.Domain) (string, error) {
	return b.publishOne(ctx, event)
}

// PublishCustom publishes an event to a topic of the caller's own, after the prefix, and returns its id.
func (b *Bus) PublishCustom(ctx context.Context, event envelopes.Custom) (string, error) {
	return b.publishOne(ctx, event)
}

// PublishAll publishes events of any kinds, in order, and returns their ids. All are checked before any
// is published, and all faults reported, each with the event's place counted from 1. With an outbox they
// are one SQL statement, all or none of them. Directly, it is one call of the Publisher a topic: when one
// fails, those of the topics before it were published. No events are no work.
func (b *Bus) PublishAll(ctx context.Context, events ...envelopes.Event) ([]string, error) {
	if len(events) == 0 {
		return nil, nil
	}
	work := &work{events: events}
	if err := b.publish(ctx, work, (*Bus).send); err != nil {
		return nil, err
	}
	ids := make([]string, len(work.messages))
	for i, msg := range work.messages {
		ids[i] = msg.UUID
	}
	return ids, nil
}

// Republish publishes the same events again on purpose, for instance in a request that is retried. Each
// must carry its event id. With an outbox, an event that is there already is left as it is, pending or
// sent, and nothing is aborted; the result is how many were written. Directly, all are sent again.
func (b *Bus) Republish(ctx context.Context, events ...envelopes.Event) (int, error) {
	var faults []error
	for i, event := range events {
		if event != nil && event.Meta().EventID == "" {
			faults = append(faults, fmt.Errorf("bus: event %d has no event id to be known by: set Metadata.EventID, or use PublishAll", i+1))
		}
	}
	if err := errors.Join(faults...); err != nil || len(events) == 0 {
		return 0, err
	}
	if b.core.Outbox == nil {
		if err := b.publish(ctx, &work{events: events}, (*Bus).send); err != nil {
			return 0, err
		}
		return len(events), nil
	}
	var written int64
	err := b.publish(ctx, &work{events: events}, func(b *Bus, ctx context.Context, w *work) (err error) {
		if written, err = b.core.Outbox.Republish(w.ctx, w.tx, w.topics, w.messages); err != nil {
			return explain(ctx, err)
		}
		b.written(ctx, w)
		return nil
	})
	return int(written), err
}

func (b *Bus) publishOne(ctx context.Context, event envelopes.Event) (string, error) {
	w := &work{}
	w.one.event[0] = event
	w.events = w.one.event[:]
	if err := b.publish(ctx, w, (*Bus).send); err != nil {
		return "", err
	}
	return w.messages[0].UUID, nil
}

// publish is the way of all publishing methods: it prepares the events, sends them, and tells of both.
func (b *Bus) publish(ctx context.Context, w *work, send func(*Bus, context.Context, *work) error) (err error) {
	began := b.core.metrics.now()
	w.ctx = ctx
	err = telemetry.ErrPanicked // until there is another
	defer func() {
		w.end(err)
		b.core.metrics.published(b, w, err, began)
	}()
	if err := b.prepare(ctx, w); err != nil {
		return err
	}
	return send(b, ctx, w)
}

// work is the events of one call, on their way.
type work struct {
	// ctx is what they are sent under: the caller's, or that of the span if they are one event.
	ctx      context.Context
	tx       Tx
	events   []envelopes.Event
	topics   []string // "" of an event whose topic is not known
	messages []*message.Message
	origins  []origin // nil when no spans are made
	// foreign says that the messages are the caller's own, and must not change.
	foreign bool
	// unsent are the topics that a direct call with several did not reach.
	unsent []string

	// one is the room for the usual call.
	one struct {
		event   [1]envelopes.Event
		topic   [1]string
		message [1]*message.Message
	}
}

// room makes the slices.
func (w *work) room(spans bool) {
	n := len(w.events)
	if n == 1 {
		w.topics, w.messages = w.one.topic[:], w.one.message[:]
	} else {
		w.topics, w.messages = make([]string, n), make([]*message.Message, n)
	}
	if spans {
		w.origins = make([]origin, n)
	}
}

func (b *Bus) prepare(ctx context.Context, w *work) (err error) {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("bus: nothing was published: %w", err)
	}
	if w.tx, err = b.transaction(ctx); err != nil {
		return err
	}
	w.room(b.core.spans != nil)
	completer := b.core.completer(ctx, len(w.events), b.core.spans)
	var faults []error
	for i, event := range w.events {
		topic, msg, origin, err := completer.message(event)
		w.topics[i], w.messages[i] = topic, msg
		if w.origins != nil {
			w.origins[i] = origin
		}
		if err != nil {
			if len(w.events) > 1 {
				err = fmt.Errorf("bus: event %d of %d: %w", i+1, len(w.events), err)
			}
			faults = append(faults, err)
		}
	}
	if len(faults) == 0 && len(w.events) > 1 {
		faults = twins(w)
	}
	switch len(faults) {
	case 0:
		w.created(b.core.Outbox != nil)
		return nil
	case 1:
		return faults[0]
	}
	return errors.Join(faults...)
}

// twins finds events of one call that have the same id and topic, which the outbox could not tell apart.
func twins(w *work) []error {
	type place struct{ topic, id string }
	first := make(map[place]int, len(w.messages))
	var faults []error
	for i, msg := range w.messages {
		at := place{w.topics[i], msg.UUID}
		if other, taken := first[at]; taken {
			faults = append(faults, fmt.Errorf("%w: bus: events %d and %d have the same id and topic: give each its own id, or none", envelopes.ErrInvalid, other+1, i+1))
			continue
		}
		first[at] = i
	}
	return faults
}

func (b *Bus) send(ctx context.Context, w *work) error {
	if b.core.Outbox == nil {
		return b.sendDirectly(ctx, w)
	}
	if err := b.core.Outbox.Write(w.ctx, w.tx, w.topics, w.messages); err != nil {
		return explain(ctx, err)
	}
	b.written(ctx, w)
	return nil
}

// written is called when the events are in the outbox's table, committed or not.
func (b *Bus) written(ctx context.Context, w *work) {
	if w.tx == nil && b.core.OnCommit != nil {
		b.core.OnCommit()
	}
	b.log(ctx, "event written to the outbox", w)
}

func (b *Bus) sendDirectly(ctx context.Context, w *work) error {
	if len(w.messages) == 1 {
		if err := b.call(ctx, w, w.topics[0], w.messages); err != nil {
			return fmt.Errorf("bus: publish to %s: %w", w.topics[0], err)
		}
		b.log(ctx, "event published", w)
		return nil
	}
	order, groups := make([]string, 0, 4), make(map[string][]*message.Message, 4)
	for i, topic := range w.topics {
		if _, known := groups[topic]; !known {
			order = append(order, topic)
		}
		groups[topic] = append(groups[topic], w.messages[i])
	}
	for i, topic := range order {
		if err := b.call(ctx, w, topic, groups[topic]); err != nil {
			w.unsent = order[i:]
			return fmt.Errorf("bus: publish %d events to %s (%d of %d topics were done before): %w", len(groups[topic]), topic, i, len(order), err)
		}
	}
	b.log(ctx, "event published", w)
	return nil
}

// call calls the Publisher.
func (b *Bus) call(ctx context.Context, w *work, topic string, msgs []*message.Message) (err error) {
	end := b.sending(ctx, w, topic, msgs)
	err = telemetry.ErrPanicked
	defer func() { end(err) }()
	return b.core.Publisher.Publish(topic, msgs...)
}

func (b *Bus) log(ctx context.Context, what string, w *work) {
	if !b.core.Logger.Enabled(ctx, slog.LevelDebug) {
		return
	}
	for i, msg := range w.messages {
		b.core.Logger.DebugContext(ctx, what, "event_id", msg.UUID,
			"event_type", msg.Metadata.Get(envelopes.HeaderType), "topic", w.topics[i], "in_transaction", w.tx != nil)
	}
}

func explain(ctx context.Context, err error) error {
	// A server that was told to cancel says so in its own words, without the context's error.
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		return fmt.Errorf("bus: %w: %w", ended, err)
	}
	if errors.Is(err, sql.ErrTxDone) {
		return fmt.Errorf("bus: the transaction has ended: publish before it is committed or rolled back: %w", err)
	}
	return fmt.Errorf("bus: %w", err)
}
