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
package bus
