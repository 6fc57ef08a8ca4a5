// Package watermillsql forwards what Watermill's forwarder component wrote through watermill-sql: its
// tables, its envelopes and its order stay, and only the process changes.
//
// An application that publishes with components/forwarder's NewPublisher over watermill-sql/v3 and
// PostgreSQL (tables watermill_<topic> and watermill_offsets_<topic>) is left as it is. [Forwarder] takes
// the place of components/forwarder's Forwarder: it reads the same rows for the same consumer group,
// unwraps them and sends them as watermill-kafka's publisher would, with the same headers. Either can go
// on where the other stopped.
//
// # What it keeps
//
// The offsets row is Watermill's own: a position in the order of (transaction_id, offset) before which
// everything was delivered. So the order is that one, too, and the position passes a message only when
// the broker has it, or the dead-letter topic has a copy.
//
//   - Reading, sending and recording overlap; no transaction is open while the broker is waited for.
//   - A broker that is away counts against no message: everything waits and goes on.
//   - A topic that is unknown or forbidden stops the reading, since the position cannot pass its message.
//   - A message that the broker refuses for its own sake is tried again while the later messages of its
//     key wait behind it. After its attempts, as at once with one that cannot be unwrapped, a copy goes to
//     the dead-letter topic. The row stays.
//   - One process works at a time, by a session advisory lock; others stand by. Watermill's own forwarder
//     knows no such lock: when it moves the position meanwhile, what is on its way is dropped and the work
//     goes on from there. Nothing is lost by that, and some of it is delivered twice.
//
// A clean stop makes no duplicate. A crash makes those of what was delivered and not yet recorded.
//
// # What it cannot keep
//
// A transaction that is still open could write a row that belongs before all later ones, so nothing behind
// its id can be read: that is the price of a position in this order. Transactions of other databases
// cannot, and are not waited for here, as Watermill does.
//
// Of two transactions that overlap, the one with the lower id comes first, whichever wrote first. The
// outbox of bus/outbox has neither.
package watermillsql
