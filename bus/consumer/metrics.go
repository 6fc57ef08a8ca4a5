package consumer

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tailrace-go/tailrace/internal/telemetry"
)

// Metrics counts what becomes of the messages, by the topic and the name of the handler:
//
//   - tailrace_consumer_messages_total, by outcome (see [Outcome]);
//   - tailrace_consumer_handle_duration_seconds, by outcome: from the delivery to the verdict, retries and
//     the waits between them included;
//   - tailrace_consumer_retries_total: attempts after the first.
//
// It belongs outermost, so that it knows how the message ended. Chains on one Registerer count together.
// A nil Registerer is an error.
func Metrics(registerer prometheus.Registerer) (message.HandlerMiddleware, error) {
	if registerer == nil {
		return nil, errNoRegisterer
	}
	m, err := newMetrics(registerer)
	if err != nil {
		return nil, err
	}
	return func(next message.HandlerFunc) message.HandlerFunc {
		// A handler has one topic and one name, unless somebody calls it outside of a router.
		var last atomic.Pointer[series]
		return func(msg *message.Message) (produced []*message.Message, err error) {
			grow()
			outer := msg.Context()
			topic, handler := message.SubscribeTopicFromCtx(outer), message.HandlerNameFromCtx(outer)
			s := last.Load()
			if s == nil || s.topic != topic || s.handler != handler {
				s = m.of(topic, handler)
				last.Store(s)
			}
			ctx, record := withAttempts(outer, msg)
			msg.SetContext(ctx)
			start := time.Now()
			err = errPanicked // unless next returns
			defer func() {
				msg.SetContext(outer)
				outcome, _ := record.ended(err)
				s.count(outcome, record.number-1, time.Since(start))
			}()
			produced, err = next(msg)
			return produced, err
		}
	}, nil
}

// errPanicked is how a message ends in a chain without [Recoverer] when the handler panics: the router
// nacks it.
var errPanicked = errors.New("consumer: the handler panicked")

var errNoRegisterer = errors.New("consumer: Metrics needs a Registerer: pass prometheus.DefaultRegisterer, or one of your own")

type metrics struct {
	messages, retries *prometheus.CounterVec
	duration          *prometheus.HistogramVec
	labels            telemetry.Labels
	known             sync.Map // place → *series
}

type place struct{ topic, handler string }

// series are those of one handler.
type series struct {
	place

	label    string // of the topic
	messages [len(outcomes)]prometheus.Counter
	retries  prometheus.Counter
	handled  prometheus.Observer
	all      *prometheus.HistogramVec
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	const subsystem = "consumer"
	m := &metrics{}
	var err error
	if m.messages, err = telemetry.Register(registerer, prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: telemetry.Namespace, Subsystem: subsystem, Name: "messages_total",
		Help: "Messages delivered to a handler, by how that ended: handled, duplicate, ignored, dropped, dead_letter, or kept to come again.",
	}, []string{"topic", "handler", "outcome"})); err != nil {
		return nil, fmt.Errorf("consumer: %w", err)
	}
	if m.retries, err = telemetry.Register(registerer, prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: telemetry.Namespace, Subsystem: subsystem, Name: "retries_total",
		Help: "Attempts at messages after the first of a delivery.",
	}, []string{"topic", "handler"})); err != nil {
		return nil, fmt.Errorf("consumer: %w", err)
	}
	if m.duration, err = telemetry.Register(registerer, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: telemetry.Namespace, Subsystem: subsystem, Name: "handle_duration_seconds", Buckets: telemetry.DurationBuckets(),
		Help: "Time from a message's delivery to how it ended, retries and the waits between them included.",
	}, []string{"topic", "handler", "outcome"})); err != nil {
		return nil, fmt.Errorf("consumer: %w", err)
	}
	return m, nil
}

// of returns a handler's series. The counters are there from the start, at 0, so that rates see the first
// of anything; of the histogram, that of the usual outcome.
func (m *metrics) of(topic, handler string) *series {
	at := place{topic, handler}
	if known, ok := m.known.Load(at); ok {
		return known.(*series)
	}
	label := m.labels.Of(topic)
	s := &series{
		place: at, label: label, all: m.duration,
		retries: m.retries.WithLabelValues(label, handler), handled: m.duration.WithLabelValues(label, handler, string(Handled)),
	}
	for i, outcome := range outcomes {
		s.messages[i] = m.messages.WithLabelValues(label, handler, string(outcome))
	}
	if label == topic { // what is bounded
		m.known.Store(at, s)
	}
	return s
}

func (s *series) count(outcome Outcome, retries int, took time.Duration) {
	s.messages[max(0, slices.Index(outcomes[:], outcome))].Inc()
	duration := s.handled
	if outcome != Handled {
		duration = s.all.WithLabelValues(s.label, s.handler, string(outcome))
	}
	duration.Observe(took.Seconds())
	if retries > 0 {
		s.retries.Add(float64(retries))
	}
}
