// Package inbox handles each event once: it remembers what was handled in the transaction in which it is
// handled.
//
// # What it promises
//
// Kafka delivers at least once: a crash between the handler's success and the ack, a rebalance or a
// requeue brings an event again. With an inbox, the handler's own writes, the events it publishes through
// the Bus and the mark (consumer, event id) are one transaction, and the message is acked after the
// commit. Whatever happens in between, the database has an event's effects exactly once, for as long as
// the mark is kept ([Config] Retention).
//
// It is effects in this database that happen once. A mail sent, a request made or a message returned to
// the router is outside the transaction: it may happen again, if the transaction does not commit. Publish
// an event for it instead, and let its handler bear repetition.
//
// # Start
//
// The table is made with [Migrate], `tailrace migrate --inbox` or the SQL of [PrintMigrations]; [Check]
// says at start-up why one is unfit. One [Inbox] serves all handlers of a service:
//
//	box, err := inbox.New(inbox.Config{Bus: events})
//	…
//	go box.Run(ctx) // purges old marks
//
// # Use
//
// [Inbox.Add] adds a handler to a router, as consumer.Add does. It is the way that cannot go wrong, since
// it stands around the handler itself, inside whatever middlewares the router has:
//
//	router.AddPlugin(consumer.Plugin(…)) // retries, timeouts, dead letters
//	box.Add(router, "welcome", subscriber, "marty.users.user.user_created",
//		consumer.Handle(UserCreated, func(ctx context.Context, event consumer.Event[User]) error {
//			tx, _ := events.SQLTxFrom(ctx)
//			if _, err := tx.ExecContext(ctx, `INSERT INTO welcomes …`); err != nil {
//				return err
//			}
//			_, err := Welcomed.Publish(ctx, events, event.AggregateID, Welcome{…}) // joins the transaction
//			return err
//		}))
//
// [Inbox.Once] wraps a handler that is added in another way, for instance one route of
// consumer.Dispatch. [Inbox.Middleware] is for handlers that return messages. It must be innermost, where
// each attempt has a transaction of its own, and consumer.Plugin adds its chain inside of what
// Handler.AddMiddleware added: with it, add the chain to the router yourself, first:
//
//	router.AddMiddleware(chain...) // from consumer.Chain
//	router.AddHandler(…).AddMiddleware(box.Middleware("welcome"))
//
// Outside of Retry, all attempts would share a transaction that the first failed statement has aborted.
//
// # While it runs
//
// The transaction holds a connection of the pool for as long as the handler runs; anything in the handler
// that goes past it takes a second one. It ends with the message's context, so that at shutdown, or when
// the attempt's time is up, nothing is committed, also by a handler that goes on with a context of its
// own. The handler must not end it ([ErrEnded]).
//
// Two members that have the same event at once, as around a rebalance, wait for each other at the mark:
// the second skips what the first has committed, and goes on if it rolled back.
//
// Events of one key are handled in order, as without an inbox. A duplicate is skipped wherever it comes.
//
// An id must be one event's among all that a consumer name handles. A Bus's are UUIDs; CloudEvents asks other
// producers only for ids that are unique within their source, so give the topics of two that count 1, 2, 3
// a consumer name each.
package inbox
