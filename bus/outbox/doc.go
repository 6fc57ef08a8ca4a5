// Package outbox is the event_outbox table: its migrations, the writer that publishers use, and two ways
// to read it.
//
// A row is an event on its way. It is pending while processed_at is null and retry_count is below
// max_retries; dead once retry_count has reached max_retries; processed when processed_at is set.
//
// Make the table, or bring one up to date beside its publishers, with [Migrate], or as SQL with
// [PrintMigrations]; [Check] says why a table is unfit and [Status] how it stands.
//
// Write to it with a [Writer], in the transaction that causes the event, or with Watermill's own
// sql.Publisher and a [SchemaAdapter]. Ids are given out in the order of writing, and the events of a key
// are forwarded in id order: publish after taking the aggregate's row lock, and the order is the
// aggregate's.
//
// One outbox may be split into several tables, each with an order of its own: MigrateConfig.Shards makes them,
// WriterConfig.Shards has a Writer choose among them by the record key, [Shards] lists them, and [Claim.Open]
// keeps the order of a key that moves to a new one.
//
// The forwarder package reads it through a [Store] and its [Claim]. A [Subscriber] reads it as a Watermill
// [message.Subscriber]: slower, and with any Watermill router or middleware.
package outbox
