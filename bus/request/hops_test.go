package request_test

import (
	"context"
	"database/sql"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wmcqrs "github.com/ThreeDotsLabs/watermill/components/cqrs"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/cqrs"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/bus/request"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/forwarder"
	"github.com/tailrace-go/tailrace/topics"
)

func TestMain(m *testing.M) { bustest.Main(m) }

// placed is the event of the first service, packed that of the second.
type (
	placed struct {
		Order string `json:"order"`
	}
	packed struct {
		Order string `json:"order"`
		Boxes int    `json:"boxes"`
	}
)

var (
	orderPlaced = bus.Define[placed]("order", "placed")
	boxPacked   = bus.Define[packed]("order", "packed")
)

const (
	patience    = 30 * time.Second
	placedTopic = "marty.shop.order.placed"
	packedTopic = "marty.depot.order.packed"
)

// hop is what a handler saw: the event, and what an event of its own would inherit.
type hop struct {
	event     envelopes.Metadata
	inherited bus.Metadata
	span      trace.SpanContext
}

func seen(ctx context.Context, event envelopes.Metadata) hop {
	return hop{event, bus.MetadataFrom(ctx), trace.SpanContextFromContext(ctx)}
}

// A request's ids on their whole way: a request to the shop, which publishes in a transaction; the forwarder;
// the depot, which publishes while it handles that; the mailer, which handles what the depot published.
func TestThreeHops(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		sdk   bool
		depot func(*hops)
		// spans are those from the mailer's back to the request's.
		spans []string
	}{
		"typed handlers": {
			sdk: true, depot: (*hops).depot,
			spans: []string{"process " + packedTopic, "send " + packedTopic, "process " + placedTopic, "create " + placedTopic},
		},
		"Watermill's CQRS in the middle": {
			sdk: true, depot: (*hops).depotOnCQRS,
			spans: []string{"process " + packedTopic, "process " + placedTopic, "create " + placedTopic},
		},
		"without an OpenTelemetry SDK": {depot: (*hops).depot},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHops(t, test.sdk)
			test.depot(h)
			h.mailer()
			response := h.request()
			depot, mailer := await(t, h.atDepot), await(t, h.atMailer)
			h.stop() // so that all spans have ended

			require.Equal(t, "req-7f3a", response.Get("X-Correlation-ID"))
			inherited := bus.Metadata{
				CorrelationID: "req-7f3a", UserID: "admin-1", SessionID: "s-1", RequestID: response.Get("X-Request-ID"),
				SourceIP: "127.0.0.1", UserAgent: "hops/1.0",
			}
			require.NotEmpty(t, inherited.RequestID)
			for service, at := range map[string]hop{"depot": depot, "mailer": mailer} {
				told := at.event
				carried := bus.Metadata{
					CorrelationID: told.CorrelationID, UserID: told.UserID, SessionID: told.SessionID, RequestID: told.RequestID,
					SourceIP: told.SourceIP, UserAgent: told.UserAgent,
				}
				require.Equal(t, inherited, carried, service)
				passedOn := inherited
				passedOn.CausationID = told.EventID
				require.Equal(t, passedOn, at.inherited, service)
				require.Equal(t, "4bf92f3577b34da6a3ce929d0e0e4736", told.TraceID, service)
				require.Equal(t, told.TraceID, at.span.TraceID().String(), service)
			}
			require.Empty(t, depot.event.CausationID, "a request is no event")
			require.Equal(t, depot.event.EventID, mailer.event.CausationID)
			require.Equal(t, []string{"shop", "depot"}, []string{depot.event.ServiceName, mailer.event.ServiceName})
			for topic, event := range map[string]envelopes.Metadata{placedTopic: depot.event, packedTopic: mailer.event} {
				records := h.broker.Records(t, topic)
				require.Len(t, records, 1)
				for header, want := range map[string]string{
					"correlation_id": "req-7f3a", envelopes.HeaderID: event.EventID,
					"traceparent": "00-" + event.TraceID + "-" + event.SpanID + "-01",
				} {
					got, _ := records[0].Header(header)
					require.Equal(t, want, got, header)
				}
			}
			if !test.sdk {
				require.Equal(t, "00f067aa0ba902b7", depot.event.SpanID, "the request's span, for want of others")
				require.Equal(t, "00f067aa0ba902b7", mailer.event.SpanID)
				return
			}
			require.Equal(t, test.spans, h.walk(mailer.span))
			require.Equal(t, "process "+packedTopic, h.named(t, mailer.span).Name())
			require.Equal(t, mailer.event.SpanID, h.named(t, mailer.span).Parent().SpanID().String())
			require.Equal(t, depot.event.SpanID, h.named(t, depot.span).Parent().SpanID().String())
			require.Equal(t, []string{depot.event.SpanID}, h.links("send "+placedTopic), "the forwarder's batch was of this event")
		})
	}
}

// hops are the three services.
type hops struct {
	t                 *testing.T
	broker            *bustest.Broker
	publisher         *kafka.Publisher
	spans             *tracetest.SpanRecorder
	tracer            trace.TracerProvider
	atDepot, atMailer chan hop
	stops             []func()
}

func newHops(t *testing.T, sdk bool) *hops {
	t.Helper()
	h := &hops{
		t: t, broker: bustest.Kafka(t), spans: tracetest.NewSpanRecorder(), tracer: noop.NewTracerProvider(),
		atDepot: make(chan hop, 1), atMailer: make(chan hop, 1),
	}
	for _, topic := range []string{placedTopic, packedTopic, "marty.dead.letter.queue"} {
		h.broker.CreateTopic(t, topic, 3, nil)
	}
	if sdk {
		h.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(h.spans))
	}
	var err error
	h.publisher, err = kafka.NewPublisher(kafka.PublisherConfig{Sender: kafka.SenderConfig{Config: h.config()}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.publisher.Close()) })
	t.Cleanup(h.stop)
	return h
}

func (h *hops) config() kafka.Config { return kafka.Config{Brokers: h.broker.Brokers()} }

func (h *hops) bus(config bus.Config) *bus.Bus {
	config.Topics, config.Tracer = topics.Naming{Prefix: "marty"}, h.tracer
	b, err := bus.New(config)
	require.NoError(h.t, err)
	return b
}

// request makes the request to the shop, whose outbox a forwarder empties, and returns the response's header.
func (h *hops) request() http.Header {
	db, _ := bustest.Postgres(h.t)
	_, err := outbox.Migrate(h.t.Context(), db, outbox.MigrateConfig{})
	require.NoError(h.t, err)
	_, err = db.Exec(`CREATE TABLE orders (id text PRIMARY KEY)`)
	require.NoError(h.t, err)
	sender, err := kafka.NewSender(kafka.SenderConfig{Config: h.config()})
	require.NoError(h.t, err)
	h.t.Cleanup(func() { require.NoError(h.t, sender.Close()) })
	carrier, err := forwarder.New(forwarder.Config{DB: db, Sender: sender, Tracer: h.tracer})
	require.NoError(h.t, err)
	h.run(carrier.Run)

	b := h.bus(bus.Config{Service: "shop", DB: db})
	about, err := request.New(request.Config{
		User:    func(r *http.Request) string { return r.Header.Get("X-User") },
		Session: func(r *http.Request) string { return r.Header.Get("X-Session") },
	})
	require.NoError(h.t, err)
	shop := httptest.NewServer(about(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := b.Transact(r.Context(), func(ctx context.Context, tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, `INSERT INTO orders VALUES ('order-9')`); err != nil {
				return err
			}
			_, err := orderPlaced.Publish(ctx, b, "order-9", placed{Order: "order-9"})
			return err
		})
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})))
	h.t.Cleanup(shop.Close)
	r, err := http.NewRequestWithContext(h.t.Context(), http.MethodPost, shop.URL, nil)
	require.NoError(h.t, err)
	for name, value := range map[string]string{
		"X-Correlation-ID": "req-7f3a", "X-User": "admin-1", "X-Session": "s-1", "User-Agent": "hops/1.0", "Traceparent": traceParent,
	} {
		r.Header.Set(name, value)
	}
	response, err := shop.Client().Do(r)
	require.NoError(h.t, err)
	require.NoError(h.t, response.Body.Close())
	require.Equal(h.t, http.StatusOK, response.StatusCode)
	return response.Header
}

func (h *hops) depot() {
	b := h.bus(bus.Config{Service: "depot", Publisher: h.publisher})
	h.consume("depot", placedTopic, consumer.Handle(orderPlaced, func(ctx context.Context, event consumer.Event[placed]) error {
		h.atDepot <- seen(ctx, event.Metadata)
		_, err := boxPacked.Publish(ctx, b, event.Data.Order, packed{Order: event.Data.Order, Boxes: 2})
		return err
	}))
}

func (h *hops) depotOnCQRS() {
	registry := cqrs.NewRegistry()
	cqrs.Register(registry, orderPlaced, nil, cqrs.From("shop"))
	cqrs.Register(registry, boxPacked, func(e packed) string { return e.Order })
	marshaler, err := cqrs.New(cqrs.Config{Bus: h.bus(bus.Config{Service: "depot", Publisher: h.publisher}), Registry: registry})
	require.NoError(h.t, err)
	events, err := marshaler.EventBus()
	require.NoError(h.t, err)
	router := h.router()
	processor, err := wmcqrs.NewEventProcessorWithConfig(router, marshaler.EventProcessorConfig(
		func(params wmcqrs.EventProcessorSubscriberConstructorParams) (message.Subscriber, error) {
			return h.subscriber(params.HandlerName), nil
		}))
	require.NoError(h.t, err)
	require.NoError(h.t, processor.AddHandlers(wmcqrs.NewEventHandler("depot", func(ctx context.Context, order *placed) error {
		event, err := cqrs.EventFrom(ctx)
		if err != nil {
			return err
		}
		h.atDepot <- seen(ctx, event.Metadata)
		return events.Publish(ctx, packed{Order: order.Order, Boxes: 2})
	})))
	h.run(router.Run)
}

func (h *hops) mailer() {
	h.consume("mailer", packedTopic, consumer.Handle(boxPacked, func(ctx context.Context, event consumer.Event[packed]) error {
		h.atMailer <- seen(ctx, event.Metadata)
		return nil
	}))
}

func (h *hops) consume(group, topic string, handle message.NoPublishHandlerFunc) {
	router := h.router()
	consumer.Add(router, group, h.subscriber(group), topic, handle)
	h.run(router.Run)
}

func (h *hops) router() *message.Router {
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NopLogger{})
	require.NoError(h.t, err)
	router.AddPlugin(consumer.Plugin(consumer.Config{
		DeadLetter: consumer.DeadLetterConfig{Publisher: h.publisher, Naming: topics.Naming{Prefix: "marty"}}, Tracer: h.tracer,
	}))
	return router
}

func (h *hops) subscriber(group string) message.Subscriber {
	subscriber, err := kafka.NewSubscriber(kafka.SubscriberConfig{Config: h.config(), ConsumerGroup: group}, watermill.NopLogger{})
	require.NoError(h.t, err)
	return subscriber
}

// run runs a service until stop.
func (h *hops) run(service func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- service(ctx) }()
	h.stops = append(h.stops, sync.OnceFunc(func() {
		cancel()
		require.NoError(h.t, await(h.t, ended))
	}))
}

func (h *hops) stop() {
	for _, stop := range h.stops {
		stop()
	}
}

// walk returns the names of the spans from this one to the request's, and "" where the chain is broken.
func (h *hops) walk(from trace.SpanContext) []string {
	var names []string
	for at := from.SpanID(); at.String() != "00f067aa0ba902b7"; {
		span := h.find(at)
		if span == nil {
			return append(names, "")
		}
		names = append(names, span.Name())
		at = span.Parent().SpanID()
	}
	return names
}

// links returns the ids of the spans that those of this name link to.
func (h *hops) links(name string) []string {
	var ids []string
	for _, span := range h.spans.Ended() {
		if span.Name() == name {
			for _, link := range span.Links() {
				ids = append(ids, link.SpanContext.SpanID().String())
			}
		}
	}
	return ids
}

func (h *hops) find(id trace.SpanID) sdktrace.ReadOnlySpan {
	for _, span := range h.spans.Ended() {
		if span.SpanContext().SpanID() == id {
			return span
		}
	}
	return nil
}

func (h *hops) named(t *testing.T, of trace.SpanContext) sdktrace.ReadOnlySpan {
	t.Helper()
	span := h.find(of.SpanID())
	require.NotNil(t, span)
	return span
}

func await[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(patience):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}
