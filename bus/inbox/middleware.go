package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/internal/pgtable"
)

// Add adds a handler to a router, as consumer.Add does, that handles each event once. Its name is the
// consumer's name in the table: under a new name, it handles again what is delivered again.
func (x *Inbox) Add(router *message.Router, name string, subscriber message.Subscriber, topic string, handle message.NoPublishHandlerFunc) *message.Handler {
	return consumer.Add(router, name, subscriber, topic, x.Once(name, handle))
}

// Once returns a handler that handles each event once for the named consumer; see [Inbox.Middleware]. It
// wraps the handler itself, so that no middleware can come between them, and the handler returns no
// messages, which could not be part of the transaction.
func (x *Inbox) Once(consumer string, handle message.NoPublishHandlerFunc) message.NoPublishHandlerFunc {
	once := x.Middleware(consumer)(func(msg *message.Message) ([]*message.Message, error) { return nil, handle(msg) })
	return func(msg *message.Message) error {
		_, err := once(msg)
		return err
	}
}

// Middleware runs the handler in a transaction of the Bus, which is in the message's context meanwhile:
// bus.Publish… publishes in it, bus.SQLTxFrom returns it for the handler's own SQL. The transaction marks
// the event as handled by the consumer before the handler runs; it is committed when the handler has
// returned nil, and then the message may be acked. When the event is marked already, the handler is not
// called and the message may be acked: the chain's metrics and spans tell it as consumer.Duplicate. While
// another delivery of the event is being handled, it waits for that to end, and goes on if that failed.
//
// The consumer's name says for whom the event is handled: give each handler a name of its own, and keep
// it. The event is known by consumer.EventID.
//
// The middleware belongs innermost, inside Retry and Timeout, where each attempt is a transaction: see
// the package's comment for the wiring, and [Inbox.Add] for a way that cannot go wrong. Messages that the
// handler returns are published by the router after the commit, and lost if that fails or the process ends
// in between, since the event's next delivery is skipped: publish through the Bus instead.
//
// A handler's error rolls everything back and is returned as it is, unless the database is the reason.
// These are a consumer.Outage, for which no message is set aside: a transaction that cannot be begun, a
// mark that cannot be written (errors.Is(err, [ErrNoTable]), [ErrShape]), a connection that was lost
// ([ErrUnknown] if while committing), a serialization failure, a deadlock. A message without an event id
// is a permanent [ErrNoID]. A panic rolls back and goes on.
//
// In a context that has a transaction of this Bus already, the handler joins that one, in a savepoint: what
// fails leaves nothing in it. Its end, with the mark's, is left to whoever began it.
//
// A consumer without a name, or with one that is longer than 255 characters, is a programming mistake and
// panics.
func (x *Inbox) Middleware(consumer string) message.HandlerMiddleware {
	if err := checkName(consumer); err != nil {
		panic(fmt.Sprintf("inbox: the consumer's name %v", err))
	}
	marker, duplicates := newMarker(x.table, consumer), x.metrics.duplicates.WithLabelValues(consumer)
	return func(next message.HandlerFunc) message.HandlerFunc {
		return func(msg *message.Message) ([]*message.Message, error) {
			d := delivery{inbox: x, marker: marker, duplicates: duplicates, msg: msg, next: next}
			return d.handle()
		}
	}
}

// delivery is one attempt at a message.
type delivery struct {
	inbox      *Inbox
	marker     *marker
	duplicates prometheus.Counter
	msg        *message.Message
	next       message.HandlerFunc
	// at is how far it came, so that an error of Transact's own can be told from the handler's.
	at       stage
	produced []*message.Message
	// joined: the transaction is somebody else's.
	joined bool
}

type stage uint8

const (
	beginning stage = iota
	handling
	committing
)

// errSeen ends the transaction of a duplicate.
var errSeen = errors.New("handled before")

func (d *delivery) handle() ([]*message.Message, error) {
	id := consumer.EventID(d.msg)
	if err := checkName(id); err != nil {
		return nil, consumer.Permanent(fmt.Errorf("%w: it %w: publish the message with a UUID, or a ce_id", ErrNoID, err))
	}
	ctx := d.msg.Context()
	_, d.joined = d.inbox.config.Bus.TxFrom(ctx)
	err := d.inbox.config.Bus.Transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if d.joined {
			return d.joining(ctx, tx, id)
		}
		return d.within(ctx, tx, id)
	})
	switch {
	case err == nil:
		return d.produced, nil
	case errors.Is(err, errSeen):
		consumer.Note(ctx, consumer.Duplicate)
		d.duplicates.Inc()
		d.inbox.config.Logger.DebugContext(ctx, "event skipped: it was handled before", "consumer", d.marker.consumer, "event_id", id)
		return nil, nil
	case d.at == beginning:
		if unstorable(err) {
			return nil, consumer.Permanent(fmt.Errorf("%w: the database cannot store it: %w", ErrNoID, err))
		}
		return nil, consumer.Outage(err)
	case d.at == committing:
		return nil, explainCommit(ctx, err)
	}
	return nil, err
}

// within is what the transaction consists of.
func (d *delivery) within(ctx context.Context, tx *sql.Tx, id string) error {
	fresh, err := d.marker.mark(ctx, tx, id)
	if err != nil {
		return err
	}
	if !fresh {
		return errSeen
	}
	d.at = handling
	outer := d.msg.Context()
	defer d.msg.SetContext(outer)
	d.msg.SetContext(ctx)
	if d.produced, err = d.next(d.msg); err != nil {
		return d.blame(ctx, tx, err)
	}
	d.at = committing
	d.release(outer)
	return nil
}

// release takes the transaction out of the contexts of the returned messages: the router publishes them after
// its commit, when a Bus would refuse them, and the consumed message would come again as a duplicate and be
// acked without them. A transaction that was joined is still there.
func (d *delivery) release(outer context.Context) {
	b := d.inbox.config.Bus
	if _, joined := b.TxFrom(outer); joined {
		return
	}
	for _, out := range d.produced {
		if out != d.msg {
			out.SetContext(b.WithoutTx(out.Context()))
		}
	}
}

// blame marks the handler's error as an outage if the database is the reason, whatever the handler made
// of that: its own words need not tell, but a rollback fails for no other reason. Another statement would
// also fail for rows that the handler left open, which pgx calls a lost connection.
func (d *delivery) blame(ctx context.Context, tx *sql.Tx, err error) error {
	switch {
	case ctx.Err() != nil, errors.Is(err, consumer.ErrPermanent), errors.Is(err, consumer.ErrDropped), errors.Is(err, consumer.ErrOutage):
		return err
	case isOutage(err):
		return consumer.Outage(err)
	case d.joined:
		return err
	}
	if lost := tx.Rollback(); lost != nil && ctx.Err() == nil && !errors.Is(lost, sql.ErrTxDone) {
		return consumer.Outage(fmt.Errorf("%w (the connection to the database is lost: %w)", err, lost))
	}
	return err
}

func explainCommit(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, sql.ErrTxDone) && ctx.Err() == nil:
		return fmt.Errorf("%w: leave that to it, and return an error to roll back: %w", ErrEnded, err)
	case isLost(err):
		return consumer.Outage(fmt.Errorf("%w: the message comes again, and is skipped if it was committed: %w", ErrUnknown, err))
	case isOutage(err):
		return consumer.Outage(err)
	}
	return pgtable.WithContext(ctx, err)
}
