package connect_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wmkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/connect"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/topics"
)

func logged(config *connect.Config) *strings.Builder {
	var out strings.Builder
	config.Logger = slog.New(slog.NewTextHandler(&out, nil))
	return &out
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

var userCreated = envelopes.Domain{
	AggregateType: "user", AggregateID: "user-123", EventType: "user_created", EventData: map[string]string{"email": "user@example.com"},
}

const createdTopic = "marty.user-service.user.user_created"

func TestDirectlyToKafka(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, createdTopic, 3, nil)
	config := load(t, "KAFKA_BROKERS="+strings.Join(broker.Brokers(), ","), "SERVICE_NAME=user-service", "KAFKA_SASL_USERNAME=u")
	log := logged(&config)
	connection, err := connect.Open(deadline(t), config)
	require.NoError(t, err)
	require.Nil(t, connection.DB)
	require.Equal(t, 1, strings.Count(log.String(), "level=INFO"), log)
	require.Contains(t, log.String(), "publishing directly to Kafka, outside any transaction: neither USE_OUTBOX_PATTERN nor DATABASE_URL is set")
	require.Contains(t, log.String(), "KAFKA_SASL_USERNAME", "and the setting without use is named")

	id, err := connection.Bus.PublishDomain(deadline(t), userCreated)
	require.NoError(t, err)
	requireCreated(t, broker, id)

	require.NoError(t, connection.Close())
	require.NoError(t, connection.Close(), "a second time is the same")
	_, err = connection.Bus.PublishDomain(deadline(t), userCreated)
	require.Error(t, err)
}

func requireCreated(t *testing.T, broker *bustest.Broker, id string) {
	t.Helper()
	records := broker.WaitRecords(t, createdTopic, 1, 30*time.Second)
	require.Len(t, records, 1)
	require.Equal(t, "user-123", string(records[0].Key))
	for header, want := range map[string]string{
		"ce_id": id, "ce_source": "/user-service", "ce_type": "user_created", "ce_specversion": "1.0",
		"content-type": "application/json", "_watermill_message_uuid": id,
	} {
		got, has := records[0].Header(header)
		require.True(t, has, header)
		require.Equal(t, want, got, header)
	}
	envelope, err := envelopes.Decode(records[0].Value)
	require.NoError(t, err)
	event, err := envelope.Domain()
	require.NoError(t, err)
	require.Equal(t, id, event.Metadata.EventID)
}

// The same Bus works over watermill-kafka's own publisher.
func TestOverWatermillKafka(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, createdTopic, 1, nil)
	marshaler := wmkafka.NewWithPartitioningMarshaler(bus.RecordKey)
	publisher, err := wmkafka.NewPublisher(wmkafka.PublisherConfig{Brokers: broker.Brokers(), Marshaler: marshaler}, watermill.NopLogger{})
	require.NoError(t, err)
	defer func() { require.NoError(t, publisher.Close()) }()
	b, err := bus.New(bus.Config{Service: "user-service", Topics: topics.Naming{Prefix: "marty"}, Publisher: publisher})
	require.NoError(t, err)
	id, err := b.PublishDomain(deadline(t), userCreated)
	require.NoError(t, err)
	requireCreated(t, broker, id)
}

func TestThroughTheOutbox(t *testing.T) {
	t.Parallel()
	db, dsn := bustest.Postgres(t)
	ctx := deadline(t)
	_, err := outbox.Migrate(ctx, db, outbox.MigrateConfig{Table: "events"})
	require.NoError(t, err)
	config := load(t, "DATABASE_URL="+dsn, "EVENT_OUTBOX_TABLE=events", "SERVICE_NAME=user-service")
	log, woken := logged(&config), 0
	config.OnCommit = func() { woken++ }
	connection, err := connect.Open(ctx, config)
	require.NoError(t, err)
	require.Empty(t, log.String())

	var name string
	require.NoError(t, connection.Bus.Transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := connection.Bus.PublishDomain(ctx, userCreated); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, `SHOW application_name`).Scan(&name)
	}))
	require.Equal(t, 1, woken)
	require.Equal(t, "user-service", name, "connections are known by the service's name")
	var topic string
	require.NoError(t, connection.DB.QueryRowContext(ctx, `SELECT topic FROM events`).Scan(&topic))
	require.Equal(t, createdTopic, topic)

	later := 0
	connection.OnCommit(func() { later++ })
	_, err = connection.Bus.PublishDomain(ctx, userCreated)
	require.NoError(t, err)
	require.Equal(t, []int{2, 1}, []int{woken, later}, "beside the configuration's, from then on")
	connection.OnCommit(nil)
	_, err = connection.Bus.PublishDomain(ctx, userCreated)
	require.NoError(t, err)
	require.Equal(t, []int{3, 1}, []int{woken, later})

	require.NoError(t, connection.Close())
	require.NoError(t, connection.Close())
	require.Error(t, connection.DB.PingContext(ctx), "closed with it")
}

func TestAGivenDatabaseStaysOpen(t *testing.T) {
	t.Parallel()
	db, _ := bustest.Postgres(t)
	ctx := deadline(t)
	config := load(t)
	config.DB = db
	connection, err := connect.Open(ctx, config)
	require.NoError(t, err)
	require.True(t, connection.Bus.Outboxed())
	_, err = connection.Bus.PublishDomain(ctx, userCreated)
	require.ErrorIs(t, err, outbox.ErrNoTable)
	require.ErrorContains(t, err, "tailrace migrate")
	require.NoError(t, connection.Close())
	require.NoError(t, db.PingContext(ctx))
}

func TestTracingAndMetricsCanBeTurnedOff(t *testing.T) {
	t.Parallel()
	db, _ := bustest.Postgres(t)
	ctx := trace.ContextWithSpanContext(deadline(t), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled}))
	_, err := outbox.Migrate(ctx, db, outbox.MigrateConfig{})
	require.NoError(t, err)
	for value, want := range map[string]bool{"true": true, "false": false} {
		spans, registry := tracetest.NewSpanRecorder(), prometheus.NewRegistry()
		config := load(t, "ENABLE_EVENT_TRACING="+value, "ENABLE_EVENT_METRICS="+value)
		config.DB, config.Registerer = db, registry
		config.Tracer = sdk.NewTracerProvider(sdk.WithSpanProcessor(spans))
		connection, err := connect.Open(ctx, config)
		require.NoError(t, err)
		id, err := connection.Bus.PublishDomain(ctx, userCreated)
		require.NoError(t, err)
		var traced bool
		require.NoError(t, db.QueryRowContext(ctx, `SELECT headers->>'traceparent' IS NOT NULL FROM event_outbox WHERE event_id = $1`, id).Scan(&traced))
		require.Equal(t, want, traced)
		require.Equal(t, want, len(spans.Ended()) == 1)
		families, err := registry.Gather()
		require.NoError(t, err)
		require.Equal(t, want, len(families) == 3)
	}
}

func TestMetricsAreOnTheDefaultRegistererUnlessTold(t *testing.T) {
	t.Parallel()
	config := load(t, "USE_OUTBOX_PATTERN=false")
	for range 2 {
		connection, err := connect.Open(deadline(t), config)
		require.NoError(t, err, "a second Connection counts on the same metrics")
		defer connection.Close()
		cancelled, cancel := context.WithCancel(context.Background())
		cancel()
		_, err = connection.Bus.PublishDomain(cancelled, userCreated)
		require.ErrorIs(t, err, context.Canceled)
	}
	families, err := prometheus.DefaultGatherer.Gather()
	require.NoError(t, err)
	names := make([]string, 0, len(families))
	for _, family := range families {
		names = append(names, family.GetName())
	}
	require.Contains(t, names, "tailrace_bus_events_total")
}

func TestAWrongPasswordIsFoundAtOnceAndNotShown(t *testing.T) {
	t.Parallel()
	config := load(t, "DATABASE_URL=postgres://app:hunter2@127.0.0.1:1/users")
	_, err := connect.Open(deadline(t), config)
	require.ErrorContains(t, err, "connect: DATABASE_URL: connect to postgres://app@127.0.0.1:1/users")
	require.NotContains(t, err.Error(), "hunter2")

	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = connect.Open(cancelled, config)
	require.ErrorIs(t, err, context.Canceled)
}

func TestFromEnv(t *testing.T) {
	t.Setenv("USE_OUTBOX_PATTERN", "maybe")
	t.Setenv("SERVICE_NAME", "user service")
	t.Setenv("DATABASE_URL", "")
	_, err := connect.FromEnv(deadline(t))
	require.ErrorIs(t, err, connect.ErrConfig)
	require.ErrorContains(t, err, "USE_OUTBOX_PATTERN: is not a boolean")
	require.ErrorContains(t, err, "SERVICE_NAME: topics: ")

	t.Setenv("USE_OUTBOX_PATTERN", "true")
	t.Setenv("SERVICE_NAME", "user-service")
	_, err = connect.FromEnv(deadline(t))
	require.ErrorContains(t, err, "USE_OUTBOX_PATTERN: is true, but there is no database")

	t.Setenv("USE_OUTBOX_PATTERN", "false")
	connection, err := connect.FromEnv(deadline(t))
	require.NoError(t, err)
	require.False(t, connection.Bus.Outboxed())
	require.NoError(t, errors.Join(connection.Close(), connection.Close()))
}
