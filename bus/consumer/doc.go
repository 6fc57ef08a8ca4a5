// Package consumer handles events that a Watermill router consumes: typed handlers, inside one chain of
// middlewares that retries what may pass and sets aside what cannot.
//
// # What a handler may rely on
//
// Delivery is at least once: a handler sees an event again after a crash, a rebalance or an error, and
// must bear that; package bus/inbox lets its effects in a database happen once. Events of one key come in
// order, one at a time, as long as one handler reads a partition; a message that is being retried holds
// back its partition, and none is skipped.
//
// A message ends in one of four ways:
//
//   - handled: the handler returned nil, and the message is acked;
//   - set aside: the handler failed on every attempt, or with an error that no attempt can mend
//     ([Permanent], envelopes.ErrInvalid). A copy that says why is acked by the dead-letter topic, then
//     the message is acked;
//   - dropped: the handler says that nobody needs it any more ([Drop]);
//   - kept: it is nacked and delivered again, since the failure is not its own. The router is shutting
//     down, the partition was taken away, something the handler needs is away ([Outage]), or the copy
//     could not be published.
//
// [RetryConfig] Classify decides so about errors that cannot be marked where they are made.
//
// # Rebalances
//
// A consumer group throws out a member that is still busy with a message when the partitions are shared
// out anew, and then two handle the message at once. The chain keeps within what the group grants: all
// attempts at a message and its dead letter together take less than the group's rebalance timeout
// ([Config] RebalanceTimeout), and with bus/kafka's subscriber the message's context ends when the
// rebalance begins, which is treated as a shutdown is. A handler that ignores its context cannot be
// stopped.
//
// # Use
//
// One line puts the chain around all handlers of a router; [Add] adds a handler:
//
//	router.AddPlugin(consumer.Plugin(consumer.Config{
//		DeadLetter: consumer.DeadLetterConfig{Publisher: publisher, Naming: topics.Naming{Prefix: "marty"}},
//	}))
//	consumer.Add(router, "welcome", subscriber, "marty.users.user.user_created",
//		consumer.Handle(UserCreated, func(ctx context.Context, event consumer.Event[User]) error {
//			return mailer.Welcome(ctx, event.Data.Email)
//		}))
//	err := router.Run(ctx)
//
// What a handler publishes through a bus.Bus with its ctx continues the event's chain: same correlation
// id, user and trace, and the event as its cause.
//
// # The order of the chain
//
// Outermost first, [Chain] is:
//
//   - [Metrics], if asked for, and [Tracing]: must see how the message ended;
//   - [DeadLetter]: must see only what Retry gave up;
//   - [Correlation]: decodes the envelope, once for all attempts;
//   - [Retry]: repeats everything further in;
//   - [Timeout]: a limit of each attempt;
//   - [Recoverer]: a panic is a failed attempt.
//
// Each can be used alone.
//
// # Shutting down
//
// Router.Run cancels the contexts of running handlers at once when it stops. A handler that gives up
// because of that returns any error it likes: the message is neither retried nor set aside, and comes
// again after the restart. A handler that must finish what it began can use context.WithoutCancel, and
// has the router's CloseTimeout for it; Kafka takes no ack any more by then, so that message comes again,
// too, and package inbox is how not to handle it twice.
package consumer
