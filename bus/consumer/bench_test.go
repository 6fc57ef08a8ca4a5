package consumer_test

import (
	"context"
	"encoding/json"
	"syscall"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/envelopes"
)

// contenders are the ways to handle an event that benchmarks set side by side: bare handlers, one that looks
// at nothing and two that decode the event themselves, and the whole chain with a typed handler, with what it
// tells off, over OpenTelemetry's global provider that nobody set, and on.
var contenders = []struct {
	name string
	make func(b *testing.B, handled func()) message.HandlerFunc
}{
	{"bare", func(_ *testing.B, handled func()) message.HandlerFunc {
		return func(*message.Message) ([]*message.Message, error) { handled(); return nil, nil }
	}},
	{"bare+decode", func(_ *testing.B, handled func()) message.HandlerFunc {
		return func(msg *message.Message) ([]*message.Message, error) {
			envelope, err := envelopes.Decode(msg.Payload)
			if err != nil {
				return nil, err
			}
			_, err = envelopes.DataAs[user](mustDomain(envelope))
			handled()
			return nil, err
		}
	}},
	{"bare+encoding-json", func(_ *testing.B, handled func()) message.HandlerFunc {
		return func(msg *message.Message) ([]*message.Message, error) {
			var event struct {
				Metadata struct {
					EventID       string    `json:"event_id"`
					Timestamp     time.Time `json:"timestamp"`
					ServiceName   string    `json:"service_name"`
					CorrelationID string    `json:"correlation_id"`
					UserID        string    `json:"user_id"`
				} `json:"metadata"`
				EventType string `json:"event_type"`
				Payload   struct {
					AggregateID  string `json:"aggregate_id"`
					EventVersion int    `json:"event_version"`
					EventData    user   `json:"event_data"`
				} `json:"payload"`
			}
			err := json.Unmarshal(msg.Payload, &event)
			handled()
			return nil, err
		}
	}},
	{"chain+typed/off", whole(func(*testing.B) consumer.Config { return consumer.Config{NoTracing: true} })},
	{"chain+typed/unset", whole(func(*testing.B) consumer.Config { return consumer.Config{} })},
	{"chain+typed/metrics", whole(func(*testing.B) consumer.Config {
		return consumer.Config{NoTracing: true, Metrics: prometheus.NewRegistry()}
	})},
	{"chain+typed/tracing+metrics", whole(func(b *testing.B) consumer.Config {
		b.Helper()
		provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(discard{}))
		b.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
		return consumer.Config{Tracer: provider, Metrics: prometheus.NewRegistry()}
	})},
}

func whole(configure func(*testing.B) consumer.Config) func(*testing.B, func()) message.HandlerFunc {
	return func(b *testing.B, handled func()) message.HandlerFunc {
		b.Helper()
		config := configure(b)
		config.DeadLetter.Publisher = newOutlet()
		typed := consumer.Handle(userCreated, func(context.Context, consumer.Event[user]) error { handled(); return nil })
		return chained(func(msg *message.Message) ([]*message.Message, error) { return nil, typed(msg) }, mustChain(b, config)...)
	}
}

// discard records spans and does nothing with them.
type discard struct{}

func (discard) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (discard) OnEnd(sdktrace.ReadOnlySpan)                     {}
func (discard) Shutdown(context.Context) error                  { return nil }
func (discard) ForceFlush(context.Context) error                { return nil }

// published returns messages as a Bus publishes them.
func published(b *testing.B) func() *message.Message {
	b.Helper()
	payload := wire(b, "domain").Payload
	metadata := message.Metadata{
		"record_key": "user-123", "correlation_id": "0190b5c2-7d3e-7a41-9c55-2f6d0e8b1a03", "content-type": "application/json",
		"ce_id": "0190b5c2-7d3e-7a41-9c55-2f6d0e8b1a03", "ce_type": "user_created", "ce_source": "/user-service", "ce_specversion": "1.0",
		"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	return func() *message.Message {
		msg := message.NewMessage("0190b5c2-7d3e-7a41-9c55-2f6d0e8b1a03", payload)
		msg.Metadata = metadata
		return msg
	}
}

// BenchmarkChain calls the handlers without a router, in the same run.
func BenchmarkChain(b *testing.B) {
	for _, contender := range contenders {
		b.Run(contender.name, func(b *testing.B) {
			next, handler := published(b), contender.make(b, func() {})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := handler(next()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkRouter puts the handlers into a router whose subscriber costs nearly nothing: it hands over a
// message and waits for its ack, as a partition does. The shares are of the bare routers' throughput by
// processor time, which a busy machine falsifies less than the clock.
func BenchmarkRouter(b *testing.B) {
	var bare [3]float64
	for i, contender := range contenders {
		b.Run(contender.name, func(b *testing.B) {
			router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
			require.NoError(b, err)
			feed := &feed{next: published(b), more: b.Loop, ended: make(chan struct{})}
			router.AddHandler("users", "users", feed, "", nothing{}, contender.make(b, func() {}))
			ended := make(chan error, 1)
			b.ReportAllocs()
			before := processorTime(b)
			go func() { ended <- router.Run(context.Background()) }()
			<-feed.ended
			cost := float64(processorTime(b)-before) / float64(b.N)
			require.NoError(b, router.Close())
			require.NoError(b, <-ended)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(cost, "cpu-ns/op")
			if i < len(bare) {
				bare[i] = cost
				return
			}
			b.ReportMetric(100*bare[0]/cost, "%-of-bare")
			b.ReportMetric(100*bare[1]/cost, "%-of-decoding")
			b.ReportMetric(100*bare[2]/cost, "%-of-encoding-json")
		})
	}
}

// processorTime is what the process has used so far.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// feed is a subscriber that delivers for as long as the benchmark lasts.
type feed struct {
	next  func() *message.Message
	more  func() bool
	ended chan struct{}
}

func (f *feed) Subscribe(context.Context, string) (<-chan *message.Message, error) {
	out := make(chan *message.Message)
	go func() {
		defer close(f.ended)
		defer close(out)
		for f.more() {
			msg := f.next()
			out <- msg
			<-msg.Acked()
		}
	}()
	return out, nil
}

func (f *feed) Close() error { return nil }

type nothing struct{}

func (nothing) Publish(string, ...*message.Message) error { return nil }
func (nothing) Close() error                              { return nil }

func mustDomain(envelope envelopes.Envelope) envelopes.Domain {
	event, err := envelope.Domain()
	if err != nil {
		panic(err)
	}
	return event
}

// The chain's own allocations must not grow unseen: a consumer pays them for every message.
func TestChainAllocations(t *testing.T) {
	idle := func(*message.Message) ([]*message.Message, error) { return nil, nil }
	handler := chained(idle, mustChain(t, quick(newOutlet()))...)
	msg := wire(t, "domain")
	decode := testing.AllocsPerRun(200, func() { _, _ = envelopes.Decode(msg.Payload) })
	whole := testing.AllocsPerRun(200, func() {
		msg.SetContext(t.Context())
		_, _ = handler(msg)
	})
	t.Logf("decoding %.0f allocations, chain and decoding %.0f", decode, whole)
	require.LessOrEqual(t, whole-decode, 25.0)
}
