package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// printTree prints the trace of the request, each span below its parent, in the order of their starts.
func printTree(out io.Writer, spans tracetest.SpanStubs) {
	slices.SortFunc(spans, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	root := slices.IndexFunc(spans, func(s tracetest.SpanStub) bool { return s.SpanKind == trace.SpanKindServer })
	if root < 0 {
		return
	}
	var below func(parent tracetest.SpanStub, depth int)
	below = func(parent tracetest.SpanStub, depth int) {
		kind := strings.ToUpper(parent.SpanKind.String())
		fmt.Fprintf(out, "%s%s  (%s, %.1f ms)%s\n", strings.Repeat("  ", depth), parent.Name, kind,
			parent.EndTime.Sub(parent.StartTime).Seconds()*1000, details(parent))
		for _, span := range spans {
			if span.Parent.SpanID() == parent.SpanContext.SpanID() {
				below(span, depth+1)
			}
		}
	}
	below(spans[root], 0)
}

// short are the attributes that are shown.
var short = map[string]string{
	"messaging.destination.partition.id": "partition", "messaging.kafka.offset": "offset",
	"messaging.consumer.group.name": "group", "tailrace.handler": "handler", "tailrace.outcome": "outcome",
}

// details are a few of the span's attributes.
func details(span tracetest.SpanStub) string {
	var text strings.Builder
	for _, one := range span.Attributes {
		if name, shown := short[string(one.Key)]; shown {
			fmt.Fprintf(&text, " %s=%v", name, one.Value.AsInterface())
		}
	}
	return text.String()
}
