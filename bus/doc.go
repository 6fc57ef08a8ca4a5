// Package bus publishes events.
//
// # What a publish promises
//
// A Bus with an outbox (Config.DB) writes events to the event_outbox table, in the caller's transaction
// when there is one: they are published exactly when it commits, and not at all when it rolls back. A
// forwarder carries them to Kafka at least once, those of one key in the order they were written in.
// Writers of one aggregate keep their order if they publish after they locked its row.
//
// A Bus without one (Config.Publisher) hands events to a Watermill publisher at once: to Kafka, to a
// GoChannel, to anything. A transaction that rolls back afterwards cannot take them back.
//
// # The transaction
//
// Three ways say which transaction an event belongs to:
//
//	b.InTx(tx).PublishDomain(ctx, event)      // the same Bus, on tx
//	ctx = b.WithTx(ctx, tx)                   // tx in the context, for this Bus only
//	b.Transact(ctx, func(ctx, tx) error {…})  // begins one, commits on nil, rolls back on an error or a panic
//
// The Bus never commits a transaction of the caller's. Publishing on one that has ended is an error
// (errors.Is(err, sql.ErrTxDone)). With none, the event is written to the outbox on its own.
//
// With lib/pq, a transaction whose sql.Rows are still open cannot publish (outbox.ErrRowsOpen): read them
// to the end or close them first. After a publish has failed in the database, the whole transaction is
// aborted, as after any failed statement in PostgreSQL: roll it back.
//
// # What is filled in
//
// The Bus completes an event's metadata: what the event says stands, what it leaves empty comes from the
// context ([WithMetadata], the OpenTelemetry span), then from the Bus. All is checked before anything is
// written; a faulty event is an error that wraps envelopes.ErrInvalid or topics.ErrInvalid.
//
// Secrets in an audit event's details, states and security context leave as "[redacted]"; see
// Config.Redact and envelopes/redact.
//
// # Tracing
//
// Spans follow OpenTelemetry's Semantic Conventions for messaging and for Kafka, version 1.43.0:
//
//   - An event that goes to the outbox has a span "create {topic}", kind PRODUCER, which ends when the row is
//     written. The forwarder sends it.
//   - An event that is sent directly has a span "send {topic}", kind PRODUCER.
//   - Several that are sent directly by one call have a span "create {topic}" each, and each topic a span "send
//     {topic}", kind CLIENT, which links to them.
//
// The context of an event's first span is its creation context: it is in the record's traceparent and tracestate
// headers (W3C Trace Context, whatever propagator the application has) and in the envelope's trace_id and
// span_id. An event with trace ids of its own keeps them; it is not created here, and a send links to it.
//
// A span that failed has the error's text as its status and an error.type: invalid, duplicate,
// transaction_done, canceled, deadline_exceeded, a Go type such as *pq.Error, or _OTHER. No span holds a
// payload. Config.Tracer chooses the provider. Without an OpenTelemetry SDK no span is made, and the caller's
// context flows into the event as it is.
//
// # Metrics
//
// With Config.Metrics:
//
//	tailrace_bus_events_total{topic,kind,way,outcome}        events given to a Bus
//	tailrace_bus_publish_duration_seconds{way,outcome}       histogram of a call's time
//	tailrace_bus_publish_events{way}                         histogram of the events of a call
//
// The way is outbox or direct; the kind audit, notification, domain, custom or message (one that came
// through [Bus.Publisher]); the outcome ok, invalid, duplicate, canceled, timeout (a deadline passed, the
// caller's or the publisher's) or error. Through the outbox, ok means written: a transaction that rolls back
// afterwards is not known here. After 200 topics the rest are counted as "other"; an event that was refused
// before its topic was known has none.
package bus
