package deadletter_test

import (
	"context"
	"database/sql"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/inbox"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/topics"
)

type user struct {
	Email string `json:"email"`
}

var userCreated = bus.Define[user]("user", "created")

// TestRequeuedForAnInbox: of two services with inboxes one fails, which rolls its mark back. The requeued
// event is handled by that one, and known by the other.
func TestRequeuedForAnInbox(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	db, _ := bustest.Postgres(t)
	_, err := inbox.Migrate(t.Context(), db, inbox.MigrateConfig{})
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), `CREATE TABLE handled (handler text NOT NULL, event_id text NOT NULL)`)
	require.NoError(t, err)
	publisher, err := kafka.NewPublisher(kafka.PublisherConfig{Sender: kafka.SenderConfig{Config: p.config()}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, publisher.Close()) })
	naming := topics.Naming{Prefix: "marty"}
	events, err := bus.New(bus.Config{Service: "users", Topics: naming, DB: db})
	require.NoError(t, err)
	box, err := inbox.New(inbox.Config{Bus: events})
	require.NoError(t, err)
	topic, err := userCreated.Topic(naming, "users")
	require.NoError(t, err)
	p.broker.CreateTopic(t, topic, 2, nil)

	var mended atomic.Bool
	for _, name := range []string{"welcome", "audit"} {
		run(t, p, name, publisher, naming, func(router *message.Router, subscriber message.Subscriber) {
			box.Add(router, name, subscriber, topic, consumer.Handle(userCreated, func(ctx context.Context, event consumer.Event[user]) error {
				tx, ok := events.SQLTxFrom(ctx)
				if !ok {
					return errors.New("no transaction")
				}
				if _, err := tx.ExecContext(ctx, `INSERT INTO handled VALUES ($1, $2)`, name, event.Metadata.EventID); err != nil {
					return err
				}
				if name == "welcome" && !mended.Load() {
					return consumer.Permanent(errors.New("no such mailbox"))
				}
				return nil
			}))
		})
	}
	direct, err := bus.New(bus.Config{Service: "users", Topics: naming, Publisher: publisher})
	require.NoError(t, err)
	_, err = userCreated.Publish(t.Context(), direct, "ada", user{})
	require.NoError(t, err)
	p.broker.WaitRecords(t, letterTopic, 1, patience)
	waitHandled(t, db, "audit", 1)
	require.Zero(t, handled(t, db, "welcome"), "rolled back with the mark")

	mended.Store(true)
	p.mustRequeue(1)
	waitHandled(t, db, "welcome", 1)
	// What comes behind it in the partition shows that both have passed it.
	_, err = userCreated.Publish(t.Context(), direct, "ada", user{})
	require.NoError(t, err)
	waitHandled(t, db, "audit", 2)
	waitHandled(t, db, "welcome", 2)
	require.Equal(t, 2, handled(t, db, "audit"), "the requeued one is known")
	require.Len(t, p.broker.Records(t, letterTopic), 1)
}

// run runs a service with one handler in a group of its own.
func run(t *testing.T, p *post, group string, publisher message.Publisher, naming topics.Naming, add func(*message.Router, message.Subscriber)) {
	t.Helper()
	subscriber, err := kafka.NewSubscriber(kafka.SubscriberConfig{Config: p.config(), ConsumerGroup: group}, watermill.NopLogger{})
	require.NoError(t, err)
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NopLogger{})
	require.NoError(t, err)
	router.AddPlugin(consumer.Plugin(consumer.Config{DeadLetter: consumer.DeadLetterConfig{Publisher: publisher, Naming: naming}}))
	add(router, subscriber)
	ended := make(chan error, 1)
	go func() { ended <- router.Run(context.Background()) }()
	t.Cleanup(func() {
		require.NoError(t, router.Close())
		require.NoError(t, <-ended)
	})
}

func handled(t *testing.T, db *sql.DB, handler string) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count(*) FROM handled WHERE handler = $1`, handler).Scan(&n))
	return n
}

func waitHandled(t *testing.T, db *sql.DB, handler string, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return handled(t, db, handler) >= n }, patience, 5*time.Millisecond, handler)
}
