package forwarder

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tailrace-go/tailrace/forwarder/internal/labels"
	"github.com/tailrace-go/tailrace/forwarder/internal/meters"
)

// metrics are the forwarder's, named by the Prometheus conventions.
type metrics struct {
	forwardedTotal, retriedTotal, deadTotal               *prometheus.CounterVec
	lateTotal, sweptTotal, purgedTotal, strayTotal        prometheus.Counter
	readSeconds, settleSeconds, readRows, settleRows      prometheus.Histogram
	produceSeconds, forwardSeconds, batchEvents           prometheus.Histogram
	inFlight, waitingRows, pausedTopics, gapCount, owning prometheus.Gauge
	closedShard                                           prometheus.Gauge
	pendingRows, oldestSeconds, ownedSince, room          prometheus.Gauge
	droppedTotal                                          prometheus.Counter
	handovers                                             *prometheus.CounterVec

	all    []prometheus.Collector
	topics *labels.Topics
}

// The ways of an outbox to this process and from it.
const (
	handoverTaken = "taken"
	handoverGiven = "given"
	handoverLost  = "lost"
)

func newMetrics(registerer prometheus.Registerer, name string) (*metrics, error) {
	set := meters.New(name)
	seconds := prometheus.ExponentialBuckets(0.0005, 2, 14)
	rows := prometheus.ExponentialBuckets(1, 4, 8)
	m := &metrics{
		forwardedTotal: set.CounterBy("topic", "events_total", "Events that the broker acknowledged, by destination topic."),
		retriedTotal:   set.CounterBy("topic", "retries_total", "Attempts counted against events, by destination topic."),
		deadTotal:      set.CounterBy("topic", "dead_events_total", "Events that spent their attempts and went to the dead-letter topic, by destination topic."),
		lateTotal:      set.Counter("late_rows_total", "Rows found behind the reader's position, since their transaction committed after a later one."),
		sweptTotal:     set.Counter("swept_rows_total", "Pending rows found by the sweep: made pending again, or written behind the reader."),
		purgedTotal:    set.Counter("purged_rows_total", "Processed rows deleted after the retention."),
		strayTotal:     set.Counter("stray_rows_total", "Rows written to a shard that their key had left, by who does not choose among the shards."),
		readSeconds:    set.Histogram("read_duration_seconds", "Time of a read of the outbox.", seconds),
		readRows:       set.Histogram("read_rows", "Rows that a read of the outbox returned.", rows),
		settleSeconds:  set.Histogram("settle_duration_seconds", "Time of a statement that settles rows.", seconds),
		settleRows:     set.Histogram("settle_rows", "Rows settled by a statement.", rows),
		batchEvents:    set.Histogram("batch_events", "Events of a batch that the broker acknowledged.", rows),
		produceSeconds: set.Histogram("produce_duration_seconds", "Time from a batch's first request to its acknowledgement, by the broker, resends included.", seconds),
		forwardSeconds: set.Histogram("forward_duration_seconds", "Time from an event's created_at, which is when its transaction began, to its acknowledgement by the broker.", prometheus.ExponentialBuckets(0.001, 2, 20)),
		inFlight:       set.Gauge("in_flight_rows", "Rows read and not settled yet."),
		waitingRows:    set.Gauge("waiting_rows", "Rows that wait behind a refused event or a paused topic."),
		pausedTopics:   set.Gauge("paused_topics", "Topics that are unknown or not authorised."),
		gapCount:       set.Gauge("gaps", "Ranges of ids that were given out and not seen yet."),
		owning:         set.Gauge("owner", "1 while this process owns the outbox."),
		closedShard:    set.Gauge("closed_shard", "1 while this process owns a new shard that waits for the older ones."),
		pendingRows:    set.Gauge("pending_rows", "Rows that are not delivered yet and not dead, every 5 seconds. Of those not read yet, 10,000 are counted and more are estimated."),
		oldestSeconds:  set.Gauge("oldest_pending_age_seconds", "Age, since created_at, of the oldest row that is not delivered yet and not dead, every 5 seconds."),
		ownedSince:     set.Gauge("owned_since_timestamp_seconds", "Since when this process owns the outbox, in seconds since 1970; 0 while it does not."),
		handovers:      set.CounterBy("way", "handovers_total", "Times that this process came to own the outbox (taken), gave it back (given), or lost it (lost)."),
		room:           set.Gauge("partition_room_events", "For how many more events a partitioned outbox has partitions; 0 for a plain table."),
		droppedTotal:   set.Counter("dropped_partitions_total", "Partitions of a partitioned outbox dropped after the retention."),
		topics:         labels.New(),
	}
	m.all = set.All()
	for _, way := range []string{handoverTaken, handoverGiven, handoverLost} {
		m.handovers.WithLabelValues(way) // at 0 from the start, so that a rate sees the first
	}
	if registerer == nil {
		return m, nil
	}
	return m, register(registerer, m.all)
}

func register(registerer prometheus.Registerer, all []prometheus.Collector) error {
	if err := meters.Register(registerer, all); err != nil {
		return fmt.Errorf("forwarder: could not register the metrics: give each Forwarder a Name, or a Registerer, of its own: %w", err)
	}
	return nil
}

// unregister takes the metrics back, when the outbox is served no longer.
func (m *metrics) unregister(registerer prometheus.Registerer) {
	if registerer == nil {
		return
	}
	meters.Unregister(registerer, m.all)
}

// label returns the topic's label value.
func (m *metrics) label(topic string) string {
	label, first := m.topics.Label(topic)
	if first {
		// At 0 from the start, so that a rate sees the first.
		m.retriedTotal.WithLabelValues(label)
		m.deadTotal.WithLabelValues(label)
	}
	return label
}

func (m *metrics) read(rows, late, gaps int, took time.Duration) {
	if rows > 0 {
		m.readSeconds.Observe(took.Seconds())
		m.readRows.Observe(float64(rows))
	}
	m.lateTotal.Add(float64(late))
	m.gapCount.Set(float64(gaps))
}

func (m *metrics) settled(rows int, took time.Duration) {
	m.settleSeconds.Observe(took.Seconds())
	m.settleRows.Observe(float64(rows))
}

func (m *metrics) delivered(topic string, n int) {
	m.forwardedTotal.WithLabelValues(m.label(topic)).Add(float64(n))
}

func (m *metrics) retried(topic string, n int) {
	m.retriedTotal.WithLabelValues(m.label(topic)).Add(float64(n))
}

func (m *metrics) dead(topic string)          { m.deadTotal.WithLabelValues(m.label(topic)).Inc() }
func (m *metrics) partitionRoom(events int64) { m.room.Set(float64(events)) }
func (m *metrics) droppedPartitions(n int)    { m.droppedTotal.Add(float64(n)) }
func (m *metrics) swept(n int)                { m.sweptTotal.Add(float64(n)) }
func (m *metrics) purged(n int)               { m.purgedTotal.Add(float64(n)) }

func (m *metrics) state(flying, waiting, paused int) {
	m.inFlight.Set(float64(flying))
	m.waitingRows.Set(float64(waiting))
	m.pausedTopics.Set(float64(paused))
	if flying+waiting == 0 { // the reader has all the room it wants, so there is nothing that it has not read
		m.backlog(0, 0)
	}
}

func (m *metrics) backlog(pending int64, oldest time.Duration) {
	m.pendingRows.Set(float64(pending))
	m.oldestSeconds.Set(oldest.Seconds())
}

// batch counts an acknowledged batch.
func (m *metrics) batch(events int, sent time.Time) {
	m.batchEvents.Observe(float64(events))
	if !sent.IsZero() {
		m.produceSeconds.Observe(time.Since(sent).Seconds())
	}
}

// taken: this process came to own the outbox.
func (m *metrics) taken() {
	m.owns(time.Now())
	m.handovers.WithLabelValues(handoverTaken).Inc()
}

func (m *metrics) owns(since time.Time) {
	m.owning.Set(1)
	m.ownedSince.Set(float64(since.UnixNano()) / 1e9)
}

func (m *metrics) ownsNot() {
	m.owning.Set(0)
	m.ownedSince.Set(0)
}

// left: it owns it no longer, since it gave it back or since it lost it.
func (m *metrics) left(given bool) {
	m.ownsNot()
	m.state(0, 0, 0)
	way := handoverLost
	if given {
		way = handoverGiven
	}
	m.handovers.WithLabelValues(way).Inc()
}
