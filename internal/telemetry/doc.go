// Package telemetry is what the rooms that tell what they do have in common: the spans of OpenTelemetry's
// messaging conventions, the W3C trace context in a message's metadata, and Prometheus collectors with
// bounded labels. It knows no room.
//
// The conventions are the Semantic Conventions for messaging spans and for Kafka, version 1.43.0
// (https://opentelemetry.io/docs/specs/semconv/messaging/).
package telemetry
