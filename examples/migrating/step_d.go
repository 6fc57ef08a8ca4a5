package main

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	wforwarder "github.com/ThreeDotsLabs/watermill/components/forwarder"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

// oldTopic is Watermill's forwarder's, whose table is watermill_events_to_forward.
const oldTopic = "events_to_forward"

// leaveWatermillsForwarder: its daemon, which published to Kafka, publishes to the outbox until its table is
// empty. Then the Bus's publisher takes the place of its own, without an envelope.
func (a *app) leaveWatermillsForwarder(ctx context.Context, out io.Writer) error {
	var placed ledger
	if err := a.makeOldTable(); err != nil {
		return err
	}
	if err := a.placeOrders(ctx, &placed, forwarderPublisher); err != nil {
		return err
	}
	if err := a.count(ctx, out, "d  Watermill's forwarder, daemon stopped", a.names.orders, &placed, found{unsent: 20}); err != nil {
		return err
	}
	if err := a.emptyOldTable(ctx); err != nil {
		return err
	}
	if err := a.settled(ctx); err != nil {
		return err
	}
	if err := a.count(ctx, out, "d  its daemon fed the outbox", a.names.orders, &placed, found{}); err != nil {
		return err
	}
	if err := a.placeOrders(ctx, &placed, func(*sql.Tx) (message.Publisher, error) { return a.bus.Publisher(), nil }); err != nil {
		return err
	}
	if err := a.settled(ctx); err != nil {
		return err
	}
	return a.count(ctx, out, "d  Bus.Publisher in its place", a.names.orders, &placed, found{})
}

// forwarderPublisher is what the application published with.
func forwarderPublisher(tx *sql.Tx) (message.Publisher, error) {
	publisher, err := wsql.NewPublisher(tx, wsql.PublisherConfig{SchemaAdapter: wsql.DefaultPostgreSQLSchema{}}, nil)
	if err != nil {
		return nil, err
	}
	return wforwarder.NewPublisher(publisher, wforwarder.PublisherConfig{ForwarderTopic: oldTopic}), nil
}

func (a *app) placeOrders(ctx context.Context, placed *ledger, publisher func(*sql.Tx) (message.Publisher, error)) error {
	for i := range 20 {
		err := a.transact(ctx, false, func(tx *sql.Tx) error {
			p, err := publisher(tx)
			if err != nil {
				return err
			}
			// Its record key was in a metadata field of the application's own; now it is delivery.KeyMetadata.
			msg := newMessage(uuid.NewString(), userID(i), []byte(`{"order": true}`))
			msg.SetContext(a.bus.WithTx(ctx, tx))
			placed.add(userID(i), msg.UUID)
			return p.Publish(a.names.orders, msg)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// makeOldTable makes the tables of watermill-sql.
func (a *app) makeOldTable() error {
	subscriber, err := a.oldSubscriber()
	if err != nil {
		return err
	}
	return errors.Join(subscriber.SubscribeInitialize(oldTopic), subscriber.Close())
}

func (a *app) oldSubscriber() (*wsql.Subscriber, error) {
	return wsql.NewSubscriber(a.db, wsql.SubscriberConfig{
		SchemaAdapter: wsql.DefaultPostgreSQLSchema{}, OffsetsAdapter: wsql.DefaultPostgreSQLOffsetsAdapter{},
		PollInterval: 50 * time.Millisecond,
	}, nil)
}

// emptyOldTable runs Watermill's daemon, with the outbox for a publisher, until it has everything of its
// table. What it brings again, after a crash, is in the outbox already and left out.
func (a *app) emptyOldTable(ctx context.Context) (err error) {
	subscriber, err := a.oldSubscriber()
	if err != nil {
		return err
	}
	toOutbox, err := wsql.NewPublisher(a.db, wsql.PublisherConfig{SchemaAdapter: outbox.SchemaAdapter{IgnoreDuplicates: true}}, nil)
	if err != nil {
		return err
	}
	daemon, err := wforwarder.NewForwarder(subscriber, toOutbox, watermill.NopLogger{}, wforwarder.Config{ForwarderTopic: oldTopic})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- daemon.Run(ctx) }()
	<-daemon.Running()
	return errors.Join(a.eventually(ctx, "watermill-sql's table is read", `SELECT NOT EXISTS (
		SELECT FROM watermill_events_to_forward m LEFT JOIN watermill_offsets_events_to_forward o ON true
		WHERE NOT coalesce((m.transaction_id, m."offset") <= (o.last_processed_transaction_id, o.offset_acked), false))`),
		daemon.Close(), <-ended)
}
