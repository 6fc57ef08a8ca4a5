package forwarder

import (
	"context"
	"strconv"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/internal/telemetry"
)

// scope is the instrumentation scope of the spans.
const scope = "github.com/tailrace-go/tailrace/forwarder"

// maxLinks bounds the links of a span; it is also what OpenTelemetry's SDK keeps unless it is told
// otherwise.
const maxLinks = 128

// sends makes the spans of batches, once their fate is known. Without spans it does nothing.
type sends struct{ spans *telemetry.Spans }

func newSends(provider trace.TracerProvider) sends {
	if provider == nil {
		return sends{}
	}
	return sends{telemetry.NewSpans(provider, scope)}
}

// end makes the span of a batch: from when it left, if the sender says, to now.
func (t sends) end(r report) {
	if t.spans == nil || len(r.records) == 0 || r.verdict.Fault == delivery.Withheld {
		return
	}
	var links []trace.Link
	for _, record := range r.records {
		if created := creation(record); created.IsSampled() {
			if links = append(links, telemetry.Link(created, eventID(record), string(record.Key))); len(links) == maxLinks {
				break
			}
		}
	}
	ctx := context.Background()
	one := len(r.records) == 1
	if one && len(links) == 1 {
		ctx = trace.ContextWithRemoteSpanContext(ctx, links[0].SpanContext)
	}
	_, span := t.spans.StartAt(ctx, r.verdict.Sent, telemetry.SendCreated, r.records[0].Topic, links...)
	if !span.IsRecording() {
		span.End()
		return
	}
	telemetry.DescribeBatch(span, len(r.records))
	if r.verdict.Partition >= 0 {
		span.SetAttributes(semconv.MessagingDestinationPartitionID(strconv.Itoa(int(r.verdict.Partition))))
	}
	if one {
		telemetry.Describe(span, eventID(r.records[0]), string(r.records[0].Key), header(r.records[0], "correlation_id"))
		if r.verdict.Offset >= 0 {
			span.SetAttributes(semconv.MessagingKafkaOffset(int(r.verdict.Offset)))
		}
	}
	class := ""
	if r.verdict.Fault != delivery.Delivered {
		class = r.verdict.Fault.String()
	}
	telemetry.End(span, r.verdict.Err, class)
}

// creation is the span that published the record's event; not valid when the row does not say.
func creation(record *delivery.Record) trace.SpanContext {
	metadata := map[string]string{}
	for _, header := range record.Headers {
		if header.Key == telemetry.TraceParent || header.Key == telemetry.TraceState {
			metadata[header.Key] = string(header.Value)
		}
	}
	return telemetry.Extract(metadata)
}

func eventID(record *delivery.Record) string { return header(record, delivery.UUIDHeader) }

func header(record *delivery.Record, name string) string {
	for _, header := range record.Headers {
		if header.Key == name {
			return string(header.Value)
		}
	}
	return ""
}
