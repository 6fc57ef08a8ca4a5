package forwarder_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	wkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	wforwarder "github.com/ThreeDotsLabs/watermill/components/forwarder"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder"
)

const (
	benchBacklog = 40_000
	benchKeys    = 1000
	benchBytes   = 315
	benchTopic   = "bench.events"
)

// BenchmarkForward forwards a backlog of 40,000 events of 315 bytes with 1,000 keys, acks=all, to a
// broker in a process of its own that answers at once or after 2 ms: by Watermill's own chain (its SQL
// schema, its SQL subscriber, its forwarder component, its Kafka publisher) and by ours. The former's
// rate is taken from its first events, with the whole backlog behind them.
func BenchmarkForward(b *testing.B) {
	for _, latency := range []time.Duration{0, 2 * time.Millisecond} {
		b.Run(fmt.Sprintf("broker=%v", latency), func(b *testing.B) {
			broker := bustest.KafkaProcess(b, bustest.ProcessConfig{ProduceLatency: latency})
			broker.CreateTopic(b, benchTopic, 6, nil)
			var baseline float64
			b.Run("watermill", func(b *testing.B) {
				sample := 10_000
				if latency > 0 {
					sample = 1500
				}
				var events int
				var took time.Duration
				for b.Loop() {
					events += sample
					took += benchWatermill(b, broker, sample)
				}
				baseline = float64(events) / took.Seconds()
				b.ReportMetric(baseline, "events/s")
				b.ReportMetric(0, "ns/op")
			})
			b.Run("tailrace", func(b *testing.B) {
				var events int
				var took time.Duration
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				for b.Loop() {
					events += benchBacklog
					took += benchTailrace(b, broker, nil)
				}
				runtime.ReadMemStats(&after)
				rate := float64(events) / took.Seconds()
				b.ReportMetric(rate, "events/s")
				b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(events), "allocs/event")
				b.ReportMetric(0, "ns/op")
				if baseline > 0 {
					b.ReportMetric(rate/baseline, "x-watermill")
				}
			})
			b.Run("tailrace+metrics+tracing", func(b *testing.B) {
				var took time.Duration
				for b.Loop() {
					provider := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.AlwaysSample()))
					took += benchTailrace(b, broker, func(c *forwarder.Config) {
						c.Registerer, c.Tracer = prometheus.NewRegistry(), provider
					})
				}
				rate := float64(b.N*benchBacklog) / took.Seconds()
				b.ReportMetric(rate, "events/s")
				b.ReportMetric(0, "ns/op")
				if baseline > 0 {
					b.ReportMetric(rate/baseline, "x-watermill")
				}
			})
		})
	}
}

func benchPayload(i int) []byte {
	body := fmt.Sprintf(`{"metadata":{"event_id":"%036d"},"event_type":"user_created","payload":{"n":%d,"pad":"`, i, i)
	return []byte(body + strings.Repeat("x", benchBytes-len(body)-3) + `"}}`)
}

func benchTailrace(b *testing.B, broker *bustest.Broker, change func(*forwarder.Config)) time.Duration {
	b.Helper()
	db, _ := bustest.Postgres(b)
	_, err := outbox.Migrate(b.Context(), db, outbox.MigrateConfig{})
	require.NoError(b, err)
	fillOutbox(b, db, benchBacklog)
	sender, err := kafka.NewSender(kafka.SenderConfig{Config: kafka.Config{Brokers: broker.Brokers()}})
	require.NoError(b, err)
	config := forwarder.Config{DB: db, Sender: sender, Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&config)
		_, err := db.ExecContext(b.Context(), `UPDATE event_outbox SET headers = (headers::jsonb || jsonb_build_object(
			'traceparent', '00-' || md5(id::text) || '-' || substr(md5(id::text), 1, 16) || '-01'))::json`)
		require.NoError(b, err)
		_, err = db.ExecContext(b.Context(), `VACUUM FULL ANALYZE event_outbox`)
		require.NoError(b, err)
	}
	f, err := forwarder.New(config)
	require.NoError(b, err)
	start := time.Now()
	require.NoError(b, f.Drain(b.Context()))
	took := time.Since(start)
	require.NoError(b, sender.Close())
	return took
}

// fillOutbox writes n rows as our bus does: payload, key, and the headers of a domain event.
func fillOutbox(b *testing.B, db *sql.DB, n int) {
	b.Helper()
	_, err := db.ExecContext(b.Context(), `INSERT INTO event_outbox (event_id, topic, payload, key, headers)
		SELECT gen_random_uuid()::text, $1, convert_to(rpad('{"metadata":{"event_id":"' || i || '"},"event_type":"user_created","payload":{"pad":"', $2 - 3, 'x') || '"}}', 'UTF8'),
			convert_to('user-' || (i * 7919 % $3), 'UTF8'),
			json_build_object('ce_id', gen_random_uuid(), 'ce_source', '/user-service', 'ce_specversion', '1.0', 'ce_subject', 'user-' || (i * 7919 % $3),
				'ce_time', '2026-01-01T00:00:00.000000Z', 'ce_type', 'user_created', 'content-type', 'application/json', 'correlation_id', gen_random_uuid())::text::json
		FROM generate_series(1, $4) i ORDER BY i`, benchTopic, benchBytes, benchKeys, n)
	require.NoError(b, err)
	_, err = db.ExecContext(b.Context(), `VACUUM ANALYZE event_outbox`)
	require.NoError(b, err)
}

// benchWatermill takes the time of the first sample events out of a full backlog.
func benchWatermill(b *testing.B, broker *bustest.Broker, sample int) time.Duration {
	b.Helper()
	db, _ := bustest.Postgres(b)
	logger := watermill.NopLogger{}
	inner, err := wsql.NewPublisher(db, wsql.PublisherConfig{SchemaAdapter: wsql.DefaultPostgreSQLSchema{}, AutoInitializeSchema: true}, logger)
	require.NoError(b, err)
	publisher := wforwarder.NewPublisher(inner, wforwarder.PublisherConfig{ForwarderTopic: "forward"})
	for i := 0; i < benchBacklog; i += 1000 {
		messages := make([]*message.Message, 1000)
		for j := range messages {
			messages[j] = message.NewMessage(uuid.NewString(), benchPayload(i+j))
			messages[j].Metadata.Set("key", fmt.Sprintf("user-%d", (i+j)*7919%benchKeys))
		}
		require.NoError(b, publisher.Publish(benchTopic, messages...))
	}
	subscriber, err := wsql.NewSubscriber(db, wsql.SubscriberConfig{
		SchemaAdapter: wsql.DefaultPostgreSQLSchema{}, OffsetsAdapter: wsql.DefaultPostgreSQLOffsetsAdapter{}, InitializeSchema: true,
	}, logger)
	require.NoError(b, err)
	saramaConfig := wkafka.DefaultSaramaSyncPublisherConfig()
	saramaConfig.Producer.RequiredAcks = sarama.WaitForAll
	out, err := wkafka.NewPublisher(wkafka.PublisherConfig{
		Brokers: broker.Brokers(), OverwriteSaramaConfig: saramaConfig,
		Marshaler: wkafka.NewWithPartitioningMarshaler(func(_ string, msg *message.Message) (string, error) { return msg.Metadata.Get("key"), nil }),
	}, logger)
	require.NoError(b, err)
	counted := &countingPublisher{Publisher: out, want: int64(sample), done: make(chan struct{})}
	f, err := wforwarder.NewForwarder(subscriber, counted, logger, wforwarder.Config{ForwarderTopic: "forward", CloseTimeout: time.Second})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	start := time.Now()
	go func() { ended <- f.Run(ctx) }()
	<-counted.done
	took := time.Since(start)
	cancel()
	require.NoError(b, <-ended)
	_ = f.Close()
	return took
}

type countingPublisher struct {
	message.Publisher
	n    atomic.Int64
	want int64
	done chan struct{}
}

func (p *countingPublisher) Publish(topic string, messages ...*message.Message) error {
	if err := p.Publisher.Publish(topic, messages...); err != nil {
		return err
	}
	if p.n.Add(int64(len(messages))) == p.want {
		close(p.done)
	}
	return nil
}
