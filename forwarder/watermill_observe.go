package forwarder

import (
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/forwarder/internal/sends"
)

// observed is a publisher whose work is counted and traced.
type observed struct {
	message.Publisher

	metrics     *metrics
	sends       sends.Sends
	fault       func(error) delivery.Fault
	deadLetters string
}

// Publish implements [message.Publisher].
func (o observed) Publish(topic string, messages ...*message.Message) error {
	sent := time.Now()
	err := o.Publisher.Publish(topic, messages...)
	verdict := delivery.Verdict{Fault: delivery.Delivered, Err: err, Partition: -1, Offset: -1, Sent: sent}
	if err != nil {
		verdict.Fault = o.fault(err)
	}
	if o.sends.Traced() {
		records := make([]*delivery.Record, len(messages))
		for i, msg := range messages {
			record := delivery.FromMessage(topic, msg)
			records[i] = &record
		}
		o.sends.End(records, verdict)
	}
	switch {
	case verdict.Fault == delivery.Refused:
		o.metrics.retried(topic, len(messages))
	case err != nil:
	case topic == o.deadLetters:
		for _, msg := range messages {
			if msg.Metadata[deadletter.HeaderSource] == deadletter.SourceOutbox {
				o.metrics.dead(msg.Metadata[deadletter.HeaderTopic])
			}
		}
	default:
		o.metrics.produceSeconds.Observe(time.Since(sent).Seconds())
		o.metrics.delivered(topic, len(messages))
	}
	return err
}

// known are the metrics that the Watermill engine fills.
func (m *metrics) known() []prometheus.Collector {
	return []prometheus.Collector{m.forwardedTotal, m.retriedTotal, m.deadTotal, m.produceSeconds, m.purgedTotal}
}
