package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// tracingHelp says in --help how spans are asked for.
const tracingHelp = `Spans are exported by OTLP over HTTP when OpenTelemetry's own variables ask for it: OTEL_EXPORTER_OTLP_ENDPOINT
(http://collector:4318) or OTEL_TRACES_EXPORTER=otlp. OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES,
OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS and the like have their usual meaning.`

// tracing exports spans; the nil tracing none.
type tracing struct{ provider *sdktrace.TracerProvider }

// tracingWanted reads OpenTelemetry's environment variables
// (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/). Without a word in
// them there is no tracing.
func tracingWanted(environ map[string]string) (bool, error) {
	if strings.EqualFold(environ["OTEL_SDK_DISABLED"], "true") {
		return false, nil
	}
	var faults []error
	endpoint := ""
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		if environ[name] == "" {
			continue
		}
		endpoint = environ[name]
		if at, err := url.Parse(endpoint); err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" {
			faults = append(faults, fmt.Errorf("%s: it must be a URL such as http://localhost:4318", name))
		}
	}
	switch exporter := environ["OTEL_TRACES_EXPORTER"]; {
	case exporter == "none", exporter == "" && endpoint == "":
		return false, nil
	case exporter != "" && exporter != "otlp":
		faults = append(faults, fmt.Errorf("OTEL_TRACES_EXPORTER is %q: it must be otlp or none", exporter))
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"} {
		if protocol := environ[name]; protocol != "" && protocol != "http/protobuf" {
			faults = append(faults, fmt.Errorf("%s is %q: it must be http/protobuf, whose port is 4318", name, protocol))
		}
	}
	return true, errors.Join(faults...)
}

// startTracing starts to export. It connects to nothing yet, and what cannot be exported is logged.
func startTracing(ctx context.Context, service string, logger *slog.Logger) (*tracing, error) {
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("make the exporter of spans: %w", err)
	}
	// The environment's words come last, since they win.
	about, err := resource.New(ctx, resource.WithAttributes(semconv.ServiceName(service), semconv.ServiceVersion(version())),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv())
	if err != nil && about == nil {
		return nil, fmt.Errorf("describe this process to OpenTelemetry: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		logger.Warn("spans could not be exported; forwarding goes on without them", "error", err)
	}))
	return &tracing{sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))}, nil
}

// tracer is what the engine is given, nil for none.
func (t *tracing) tracer() trace.TracerProvider {
	if t == nil {
		return nil
	}
	return t.provider
}

// stop exports what is left, until the deadline at the latest.
func (t *tracing) stop(deadline time.Time, logger *slog.Logger) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		logger.Warn("the last spans were not exported", "error", err)
	}
}

// flushing is how long exporting the last spans may take at least.
const flushing = time.Second

// deadlineOf tells until when the process may take that was told to stop by the end of ctx: within the time
// it has to drain, and a moment for the last spans if that is used up.
func deadlineOf(ctx context.Context, within time.Duration) func() time.Time {
	told := make(chan time.Time, 1)
	context.AfterFunc(ctx, func() { told <- time.Now().Add(within) })
	return func() time.Time {
		least := time.Now().Add(flushing)
		select {
		case at := <-told:
			if at.After(least) {
				return at
			}
		default:
		}
		return least
	}
}
