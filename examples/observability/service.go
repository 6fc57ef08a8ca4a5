package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/tailrace-go/tailrace/bus/connect"
	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/bus/request"
	"github.com/tailrace-go/tailrace/forwarder"
)

// service is a web service, its forwarder and its consumers: in production, three processes.
type service struct {
	settings   connect.Config
	metrics    *prometheus.Registry
	spans      *tracetest.InMemoryExporter
	tracing    *sdktrace.TracerProvider
	connection *connect.Connection
	sender     *kafka.Sender
	letters    *kafka.Publisher
	forward    *forwarder.Group
	router     *message.Router
	listener   net.Listener
	server     *http.Server
	greeted    chan string
}

// with runs the service for as long as work does, and stops it.
func with(ctx context.Context, environ map[string]string, address string, work func(context.Context, *service) error) (err error) {
	s := &service{
		metrics: prometheus.NewRegistry(), spans: tracetest.NewInMemoryExporter(), greeted: make(chan string, users+1),
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for _, step := range []func() error{
		func() error { return s.trace(ctx, environ) },
		func() error { return s.connect(ctx, environ) },
		func() error { return s.forwarding(ctx) },
		s.consuming,
		func() error { return s.listen(address) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.forward.Run(ctx) })
	group.Go(func() error { return s.router.Run(ctx) })
	group.Go(func() error { return ignore(http.ErrServerClosed, s.server.Serve(s.listener)) })
	group.Go(func() error {
		defer cancel()
		defer func() { _ = s.server.Close() }()
		select {
		case <-s.router.Running():
		case <-ctx.Done():
			return nil
		}
		return work(ctx, s)
	})
	return group.Wait()
}

// trace keeps the spans in memory, where the example prints them from, and exports them if asked to.
func (s *service) trace(ctx context.Context, environ map[string]string) error {
	options := []sdktrace.TracerProviderOption{sdktrace.WithSyncer(s.spans)}
	if environ["OTEL_EXPORTER_OTLP_ENDPOINT"] != "" {
		exporter, err := otlptracehttp.New(ctx)
		if err != nil {
			return err
		}
		options = append(options, sdktrace.WithBatcher(exporter))
	}
	s.tracing = sdktrace.NewTracerProvider(options...)
	return nil
}

func (s *service) connect(ctx context.Context, environ map[string]string) (err error) {
	if s.settings, err = connect.Load(environ); err != nil {
		return err
	}
	s.settings.ServiceName = "users"
	s.settings.Tracer, s.settings.Registerer = s.tracing, s.metrics
	if s.connection, err = connect.Open(ctx, s.settings); err != nil {
		return err
	}
	_, err = outbox.Migrate(ctx, s.connection.DB, outbox.MigrateConfig{}) // in production: tailrace migrate
	return err
}

// forwarding is `tailrace forward`, which traces by the same environment variables.
func (s *service) forwarding(ctx context.Context) (err error) {
	letters, err := s.settings.Topics().DeadLetter()
	if err != nil {
		return err
	}
	topics := []kafka.Topic{{Name: letters, TopicShape: kafka.TopicShape{Partitions: 1, ReplicationFactor: 1}}}
	for _, topic := range []string{s.topic(userCreated.Topic), s.topic(userGreeted.Topic)} {
		topics = append(topics, kafka.Topic{Name: topic, TopicShape: kafka.TopicShape{Partitions: 3, ReplicationFactor: 1}})
	}
	if err := kafka.CreateTopics(ctx, s.settings.Kafka(), topics...); err != nil {
		return err
	}
	sending := kafka.SenderConfig{Config: s.settings.Kafka()}
	if s.sender, err = kafka.NewSender(sending); err != nil {
		return err
	}
	if s.letters, err = kafka.NewPublisher(kafka.PublisherConfig{Sender: sending}); err != nil {
		return err
	}
	s.forward, err = forwarder.NewGroup(forwarder.GroupConfig{
		Outboxes:  []forwarder.Outbox{{DB: s.connection.DB}},
		Forwarder: forwarder.Config{Sender: s.sender, DeadLetterTopic: letters, Tracer: s.tracing, Registerer: s.metrics},
	})
	return err
}

// consuming has two consumers: the first one's event is the second one's.
func (s *service) consuming() (err error) {
	if s.router, err = message.NewRouter(message.RouterConfig{}, nil); err != nil {
		return err
	}
	s.router.AddPlugin(consumer.Plugin(consumer.Config{
		DeadLetter: consumer.DeadLetterConfig{Publisher: s.letters, Naming: s.settings.Topics()},
		Retry:      consumer.RetryConfig{InitialInterval: 5 * time.Millisecond},
		Tracer:     s.tracing, Metrics: s.metrics,
	}))
	mailer, err := s.subscriber("mailer")
	if err != nil {
		return err
	}
	statistics, err := s.subscriber("statistics")
	if err != nil {
		return err
	}
	consumer.Add(s.router, "greet", mailer, s.topic(userCreated.Topic), consumer.Handle(userCreated, s.greet))
	consumer.Add(s.router, "count", statistics, s.topic(userGreeted.Topic), consumer.Handle(userGreeted, s.count))
	return nil
}

func (s *service) subscriber(group string) (message.Subscriber, error) {
	return kafka.NewSubscriber(kafka.SubscriberConfig{Config: s.settings.Kafka(), ConsumerGroup: group}, nil)
}

// greet is the first consumer. It fails once for every tenth user, and for one always.
func (s *service) greet(ctx context.Context, event consumer.Event[user]) error {
	switch {
	case event.AggregateID == "user-7":
		return consumer.Permanent(errors.New("the mailbox does not exist"))
	case strings.HasSuffix(event.AggregateID, "0") && event.Meta.Attempt == 1:
		return errors.New("the mail server is busy")
	}
	return s.connection.Bus.Transact(ctx, func(ctx context.Context, _ *sql.Tx) error {
		_, err := userGreeted.Publish(ctx, s.connection.Bus, event.AggregateID, event.Data)
		return err
	})
}

// count is the second.
func (s *service) count(_ context.Context, event consumer.Event[user]) error {
	select {
	case s.greeted <- event.AggregateID:
	default: // nobody waits any more
	}
	return nil
}

// created answers POST /users: it publishes in the transaction that would write the user.
func (s *service) created(w http.ResponseWriter, r *http.Request) {
	// otelhttp would make this span.
	ctx, span := s.tracing.Tracer("example").Start(r.Context(), "POST /users", trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	name := r.FormValue("name")
	err := s.connection.Bus.Transact(ctx, func(ctx context.Context, _ *sql.Tx) error {
		_, err := userCreated.Publish(ctx, s.connection.Bus, name, user{Email: name + "@example.com"})
		return err
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

func (s *service) listen(address string) (err error) {
	about, err := request.New(request.Config{})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("POST /users", about(http.HandlerFunc(s.created)))
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{}))
	s.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	if s.listener, err = net.Listen("tcp", address); err != nil {
		return fmt.Errorf("listen for requests: %w", err)
	}
	return nil
}

// topic is the name of a defined event's topic.
func (s *service) topic(name topicOf) string {
	topic, err := name(s.settings.Topics(), s.settings.ServiceName)
	if err != nil {
		panic(err) // the names above are legal
	}
	return topic
}

func (s *service) close() error {
	var faults []error
	if s.sender != nil {
		faults = append(faults, s.sender.Close())
	}
	if s.letters != nil {
		faults = append(faults, s.letters.Close())
	}
	if s.connection != nil {
		faults = append(faults, s.connection.Close())
	}
	if s.tracing != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		faults = append(faults, s.tracing.Shutdown(ctx))
	}
	return errors.Join(faults...)
}

func ignore(known, err error) error {
	if errors.Is(err, known) {
		return nil
	}
	return err
}
