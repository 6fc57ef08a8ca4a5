package cqrs_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wmcqrs "github.com/ThreeDotsLabs/watermill/components/cqrs"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/cqrs"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/forwarder"
)

// onKafka is a broker with the topics of this test's events.
type onKafka struct {
	broker    *bustest.Broker
	publisher *kafka.Publisher
}

func newOnKafka(t testing.TB) *onKafka {
	t.Helper()
	k := &onKafka{broker: bustest.Kafka(t)}
	for _, topic := range []string{
		"marty.user-service.user.user_created", "marty.users", "marty.user-service.order.shipped",
		"marty.mailer.mail.sent", "marty.dead.letter.queue",
	} {
		k.broker.CreateTopic(t, topic, 3, nil)
	}
	var err error
	k.publisher, err = kafka.NewPublisher(kafka.PublisherConfig{Sender: kafka.SenderConfig{Config: k.config()}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.publisher.Close()) })
	return k
}

func (k *onKafka) config() kafka.Config { return kafka.Config{Brokers: k.broker.Brokers()} }

func (k *onKafka) bus(t testing.TB, service string) *bus.Bus {
	t.Helper()
	b, err := bus.New(bus.Config{Service: service, Topics: naming, Publisher: k.publisher})
	require.NoError(t, err)
	return b
}

func (k *onKafka) subscriber(t testing.TB, group string) message.Subscriber {
	t.Helper()
	subscriber, err := kafka.NewSubscriber(kafka.SubscriberConfig{
		Config: k.config(), ConsumerGroup: group, NackResendSleep: 10 * time.Millisecond,
	}, watermill.NopLogger{})
	require.NoError(t, err)
	return subscriber
}

func (k *onKafka) subscribers(t testing.TB) wmcqrs.EventProcessorSubscriberConstructorFn {
	return func(params wmcqrs.EventProcessorSubscriberConstructorParams) (message.Subscriber, error) {
		return k.subscriber(t, params.HandlerName), nil
	}
}

// chain puts the chain of package consumer around the router's handlers.
func (k *onKafka) chain(router *message.Router) {
	router.AddPlugin(consumer.Plugin(consumer.Config{
		DeadLetter: consumer.DeadLetterConfig{Publisher: k.publisher, Naming: naming},
		Retry:      consumer.RetryConfig{MaxRetries: 2, InitialInterval: time.Millisecond},
	}))
}

func marshaler(t testing.TB, b *bus.Bus, r *cqrs.Registry) (*cqrs.Marshaler, *wmcqrs.EventBus) {
	t.Helper()
	m, err := cqrs.New(cqrs.Config{Bus: b, Registry: r})
	require.NoError(t, err)
	events, err := m.EventBus()
	require.NoError(t, err)
	return m, events
}

func handle[T any](t testing.TB, router *message.Router, config wmcqrs.EventProcessorConfig, name string, f func(context.Context, *T) error) {
	t.Helper()
	processor, err := wmcqrs.NewEventProcessorWithConfig(router, config)
	require.NoError(t, err)
	require.NoError(t, processor.AddHandlers(wmcqrs.NewEventHandler(name, f)))
}

// Mail is what the service publishes that handles users.
type Mail struct {
	ID string `json:"id"`
	To string `json:"to"`
}

var mailSent = bus.Define[Mail]("mail", "sent")

// One service is built on cqrs, the other on our Bus and consumer; each handles what the other publishes.
func TestBothWays(t *testing.T) {
	t.Parallel()
	for name, router := range map[string]func(*onKafka, *message.Router){
		"with the consumer's chain": (*onKafka).chain,
		"with a bare router":        func(*onKafka, *message.Router) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newOnKafka(t)
			r := registry()
			cqrs.Register(r, mailSent, nil, cqrs.From("mailer"))
			m, events := marshaler(t, k.bus(t, "user-service"), r)
			mails, mailer := k.bus(t, "mailer"), newRouter(t)
			k.chain(mailer)
			created := make(chan envelopes.Domain, 1)
			consumer.Add(mailer, "mailer", k.subscriber(t, "mailer"), "marty.user-service.user.user_created",
				consumer.Handle(userCreated, func(ctx context.Context, event consumer.Event[User]) error {
					created <- event.Domain
					_, err := mailSent.Publish(ctx, mails, "mail-1", Mail{ID: "mail-1", To: event.Data.Email})
					return err
				}))
			run(t, mailer)

			type handled struct {
				mail     Mail
				event    envelopes.Domain
				metadata bus.Metadata
			}
			done := make(chan handled, 1)
			users := newRouter(t)
			router(k, users)
			handle(t, users, m.EventProcessorConfig(k.subscribers(t)), "note-mail", func(ctx context.Context, mail *Mail) error {
				event, err := cqrs.EventFrom(ctx)
				if err == nil {
					done <- handled{*mail, event, bus.MetadataFrom(ctx)}
				}
				return err
			})
			run(t, users)

			ctx := bus.WithMetadata(t.Context(), bus.Metadata{CorrelationID: "request-1", UserID: "admin-1"})
			require.NoError(t, events.Publish(ctx, &User{ID: "user-123", Email: "ada@example.com"}))
			first, last := await(t, created), await(t, done)
			require.Equal(t, Mail{ID: "mail-1", To: "ada@example.com"}, last.mail)
			require.Equal(t, "mail-1", last.event.AggregateID)
			require.Equal(t, first.Metadata.EventID, last.event.Metadata.CausationID)
			require.Equal(t, last.event.Metadata.EventID, last.metadata.CausationID)
			for _, id := range []string{first.Metadata.CorrelationID, last.event.Metadata.CorrelationID, last.metadata.CorrelationID} {
				require.Equal(t, "request-1", id)
			}
			require.Equal(t, "admin-1", last.metadata.UserID)
			record := k.broker.Records(t, "marty.user-service.user.user_created")[0]
			require.Equal(t, "user-123", string(record.Key))
		})
	}
}

func TestAnEventGroupKeepsTheOrderOfItsTypes(t *testing.T) {
	t.Parallel()
	k := newOnKafka(t)
	m, events := marshaler(t, k.bus(t, "user-service"), registry())
	config := m.EventGroupProcessorConfig(func(params wmcqrs.EventGroupProcessorSubscriberConstructorParams) (message.Subscriber, error) {
		return k.subscriber(t, params.EventGroupName), nil
	})
	config.AckOnUnknownEvent = true
	router := newRouter(t)
	k.chain(router)
	processor, err := wmcqrs.NewEventGroupProcessorWithConfig(router, config)
	require.NoError(t, err)
	seen := make(chan string, 10)
	require.NoError(t, processor.AddHandlersGroup("users",
		wmcqrs.NewGroupEventHandler(func(_ context.Context, e *Rename) error { seen <- "renamed " + e.Name; return nil }),
		wmcqrs.NewGroupEventHandler(func(_ context.Context, e *Removal) error { seen <- "removed " + e.User; return nil }),
	))
	run(t, router)
	require.NoError(t, events.Publish(t.Context(), Rename{User: "1", Name: "a"}))
	_, err = k.bus(t, "other").PublishCustom(t.Context(), envelopes.Custom{Topic: "users", Key: "1", EventType: "joined"})
	require.NoError(t, err)
	require.NoError(t, events.Publish(t.Context(), Rename{User: "1", Name: "b"}))
	require.NoError(t, events.Publish(t.Context(), &Removal{User: "1"}))
	for _, want := range []string{"renamed a", "renamed b", "removed 1"} {
		require.Equal(t, want, await(t, seen))
	}
	require.Empty(t, k.broker.Records(t, "marty.dead.letter.queue"), "the unknown type was acked, as asked for")
}

func TestFaultyMessagesAreSetAside(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		ack     bool
		letters []string
	}{
		"unknown types are acked":  {true, []string{"junk"}},
		"unknown types are errors": {false, []string{"junk", "foreign"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newOnKafka(t)
			m, events := marshaler(t, k.bus(t, "user-service"), registry())
			config := m.EventProcessorConfig(k.subscribers(t))
			config.AckOnUnknownEvent = test.ack
			router := newRouter(t)
			k.chain(router)
			seen := make(chan string, 10)
			handle(t, router, config, "renamed", func(_ context.Context, e *Rename) error { seen <- e.Name; return nil })
			run(t, router)
			// One key, so one partition: what comes last is handled last.
			raw := func(uuid string, payload []byte) {
				msg := message.NewMessage(uuid, payload)
				msg.Metadata.Set("record_key", "1")
				require.NoError(t, k.publisher.Publish("marty.users", msg))
			}
			raw("junk", []byte(`{"metadata":`))
			foreign, err := m.Marshal(Removal{User: "1"})
			require.NoError(t, err)
			raw("foreign", foreign.Payload)
			require.NoError(t, events.Publish(t.Context(), Rename{User: "1", Name: "last"}))
			require.Equal(t, "last", await(t, seen))
			var letters []string
			for _, record := range k.broker.Records(t, "marty.dead.letter.queue") {
				uuid, _ := record.Header("_watermill_message_uuid")
				letters = append(letters, uuid)
			}
			require.Equal(t, test.letters, letters)
		})
	}
}

func TestAnEventBusWritesToTheOutboxInTheTransaction(t *testing.T) {
	t.Parallel()
	k := newOnKafka(t)
	db, _ := bustest.Postgres(t)
	_, err := outbox.Migrate(t.Context(), db, outbox.MigrateConfig{})
	require.NoError(t, err)
	b, err := bus.New(bus.Config{Service: "user-service", Topics: naming, DB: db})
	require.NoError(t, err)
	m, events := marshaler(t, b, registry())

	ctx := bus.WithMetadata(t.Context(), bus.Metadata{CorrelationID: "request-1"})
	undone := errors.New("undone")
	require.ErrorIs(t, b.Transact(ctx, func(ctx context.Context, _ *sql.Tx) error {
		require.NoError(t, events.Publish(ctx, Shipped{Order: "rolled back"}))
		return undone
	}), undone)
	require.NoError(t, b.Transact(ctx, func(ctx context.Context, _ *sql.Tx) error {
		require.NoError(t, events.Publish(ctx, Shipped{Order: "committed", Boxes: 2}))
		var others int
		require.NoError(t, db.QueryRow(`SELECT count(*) FROM event_outbox`).Scan(&others))
		require.Zero(t, others, "nobody sees it before the commit")
		return nil
	}))
	require.NoError(t, events.Publish(ctx, Shipped{Order: "on its own"}))

	sender, err := kafka.NewSender(kafka.SenderConfig{Config: k.config()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sender.Close()) })
	f, err := forwarder.New(forwarder.Config{DB: db, Sender: sender, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.NoError(t, f.Drain(t.Context()))

	router := newRouter(t)
	k.chain(router)
	type handled struct{ order, correlation string }
	seen := make(chan handled, 10)
	handle(t, router, m.EventProcessorConfig(k.subscribers(t)), "shipped", func(ctx context.Context, e *Shipped) error {
		seen <- handled{e.Order, bus.MetadataFrom(ctx).CorrelationID}
		return nil
	})
	run(t, router)
	require.ElementsMatch(t, []handled{{"committed", "request-1"}, {"on its own", "request-1"}}, []handled{await(t, seen), await(t, seen)})
	require.Len(t, k.broker.Records(t, "marty.user-service.order.shipped"), 2)

	ended, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, ended.Rollback())
	require.ErrorIs(t, events.Publish(b.WithTx(ctx, ended), Shipped{Order: "late"}), sql.ErrTxDone)
	direct := k.bus(t, "user-service")
	_, directly := marshaler(t, direct, registry())
	require.ErrorIs(t, directly.Publish(direct.WithTx(ctx, ended), Shipped{Order: "past the outbox"}), bus.ErrNoOutbox)
}
