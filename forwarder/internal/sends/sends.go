// Package sends makes the spans of what a forwarder sends.
package sends

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

// Sends makes the spans of batches, once their fate is known. Its zero value makes none.
type Sends struct{ spans *telemetry.Spans }

// New returns what makes spans with the provider's tracer; nil is none.
func New(provider trace.TracerProvider) Sends {
	if provider == nil {
		return Sends{}
	}
	return Sends{telemetry.NewSpans(provider, scope)}
}

// Traced reports whether spans are made at all.
func (s Sends) Traced() bool { return s.spans != nil }

// End makes the span of a batch: from when it left, if the sender says, to now.
func (s Sends) End(records []*delivery.Record, verdict delivery.Verdict) {
	if s.spans == nil || len(records) == 0 || verdict.Fault == delivery.Withheld {
		return
	}
	var links []trace.Link
	for _, record := range records {
		if created := creation(record); created.IsSampled() {
			if links = append(links, telemetry.Link(created, eventID(record), string(record.Key))); len(links) == maxLinks {
				break
			}
		}
	}
	ctx := context.Background()
	one := len(records) == 1
	if one && len(links) == 1 {
		ctx = trace.ContextWithRemoteSpanContext(ctx, links[0].SpanContext)
	}
	_, span := s.spans.StartAt(ctx, verdict.Sent, telemetry.SendCreated, records[0].Topic, links...)
	if !span.IsRecording() {
		span.End()
		return
	}
	telemetry.DescribeBatch(span, len(records))
	if verdict.Partition >= 0 {
		span.SetAttributes(semconv.MessagingDestinationPartitionID(strconv.Itoa(int(verdict.Partition))))
	}
	if one {
		telemetry.Describe(span, eventID(records[0]), string(records[0].Key), header(records[0], "correlation_id"))
		if verdict.Offset >= 0 {
			span.SetAttributes(semconv.MessagingKafkaOffset(int(verdict.Offset)))
		}
	}
	class := ""
	if verdict.Fault != delivery.Delivered {
		class = verdict.Fault.String()
	}
	telemetry.End(span, verdict.Err, class)
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
