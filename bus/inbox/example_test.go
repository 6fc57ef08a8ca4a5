package inbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"log/slog"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/inbox"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/topics"
)

// Registered is what another service tells, Welcomed what this one tells in turn.
type (
	Registered struct {
		Email string `json:"email"`
	}
	Welcomed struct{}
)

var (
	UserRegistered = bus.Define[Registered]("user", "registered")
	UserWelcomed   = bus.Define[Welcomed]("user", "welcomed")
)

// exampleDatabase is a database for an example, with the tables of both boxes and one of the service's.
func exampleDatabase(ctx context.Context) (db *sql.DB, stop func()) {
	server, err := bustest.StartPostgres(ctx, bustest.PostgresConfig{})
	if err != nil {
		log.Fatal(err)
	}
	name, err := server.CreateDatabase(ctx, "example")
	if err != nil {
		log.Fatal(err)
	}
	db, err = sql.Open("postgres", server.DSN(name))
	if err != nil {
		log.Fatal(err)
	}
	_, err = db.ExecContext(ctx, `CREATE TABLE welcomes (user_id text)`)
	if err == nil {
		_, err = outbox.Migrate(ctx, db, outbox.MigrateConfig{})
	}
	if err == nil {
		_, err = inbox.Migrate(ctx, db, inbox.MigrateConfig{})
	}
	if err != nil {
		log.Fatal(err)
	}
	return db, func() { _ = db.Close(); _ = server.Stop() }
}

// An event arrives twice. Its handler's row, the event that it publishes and the mark are one
// transaction, and the second delivery is skipped.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	db, stop := exampleDatabase(ctx)
	defer stop()

	events, err := bus.New(bus.Config{Service: "mailer", DB: db})
	if err != nil {
		fmt.Println(err)
		return
	}
	box, err := inbox.New(inbox.Config{Bus: events})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := inbox.Check(ctx, db, ""); err != nil {
		fmt.Println(err)
		return
	}
	go func() { _ = box.Run(ctx) }() // purges old marks

	pubsub := gochannel.NewGoChannel(gochannel.Config{Persistent: true}, watermill.NopLogger{})
	router := message.NewDefaultRouter(watermill.NopLogger{})
	router.AddPlugin(consumer.Plugin(consumer.Config{DeadLetter: consumer.DeadLetterConfig{Publisher: pubsub}}))
	topic, _ := UserRegistered.Topic(topics.Naming{}, "users")
	box.Add(router, "welcome", pubsub, topic,
		consumer.Handle(UserRegistered, func(ctx context.Context, event consumer.Event[Registered]) error {
			tx, _ := events.SQLTxFrom(ctx)
			if _, err := tx.ExecContext(ctx, `INSERT INTO welcomes (user_id) VALUES ($1)`, event.AggregateID); err != nil {
				return err
			}
			_, err := UserWelcomed.Publish(ctx, events, event.AggregateID, Welcomed{})
			return err
		}))
	done := make(chan error)
	go func() { done <- router.Run(ctx) }()
	<-router.Running()

	msg := registered("user-1")
	if err := pubsub.Publish(topic, msg, msg.Copy(), registered("user-2")); err != nil {
		fmt.Println(err)
		return
	}
	var welcomes, published int
	for welcomes < 2 {
		if err := db.QueryRowContext(ctx, `SELECT count(*), (SELECT count(*) FROM event_outbox) FROM welcomes`).Scan(&welcomes, &published); err != nil {
			fmt.Println(err)
			return
		}
	}
	fmt.Println(welcomes, "welcomes,", published, "events published")
	cancel()
	fmt.Println(<-done)
	// Output:
	// 2 welcomes, 2 events published
	// <nil>
}

// registered is an event as another service publishes it.
func registered(userID string) *message.Message {
	recorder := bustest.NewRecorder()
	users, err := bus.New(bus.Config{Service: "users", Publisher: recorder})
	if err == nil {
		_, err = UserRegistered.Publish(context.Background(), users, userID, Registered{Email: userID + "@example.com"})
	}
	if err != nil {
		log.Fatal(err)
	}
	return recorder.Events()[0].Message
}

// Once wraps any handler; what was handled is skipped.
func ExampleInbox_Once() {
	ctx := context.Background()
	db, stop := exampleDatabase(ctx)
	defer stop()
	events, _ := bus.New(bus.Config{Service: "mailer", DB: db})
	box, _ := inbox.New(inbox.Config{Bus: events})

	handle := box.Once("welcome", func(msg *message.Message) error {
		fmt.Println("welcome", msg.UUID)
		return nil
	})
	fmt.Println(handle(message.NewMessage("event-1", nil)))
	fmt.Println(handle(message.NewMessage("event-1", nil)))
	// Output:
	// welcome event-1
	// <nil>
	// <nil>
}

// A handler that returns messages takes the middleware, innermost.
func ExampleInbox_Middleware() {
	ctx := context.Background()
	db, stop := exampleDatabase(ctx)
	defer stop()
	events, _ := bus.New(bus.Config{Service: "mailer", DB: db})
	box, _ := inbox.New(inbox.Config{Bus: events})
	pubsub := gochannel.NewGoChannel(gochannel.Config{Persistent: true}, watermill.NopLogger{})
	answers, _ := pubsub.Subscribe(ctx, "answers")

	router := message.NewDefaultRouter(watermill.NopLogger{})
	chain, err := consumer.Chain(consumer.Config{DeadLetter: consumer.DeadLetterConfig{Publisher: pubsub}})
	if err != nil {
		fmt.Println(err)
		return
	}
	router.AddMiddleware(chain...) // first, so that the inbox is inside of it
	router.AddHandler("answer", "questions", pubsub, "answers", consumer.Shared(pubsub), message.PassthroughHandler).
		AddMiddleware(box.Middleware("answer"))
	go func() { _ = router.Run(ctx) }()
	<-router.Running()

	_ = pubsub.Publish("questions", message.NewMessage("event-1", nil))
	answer := <-answers
	answer.Ack()
	fmt.Println(answer.UUID)
	_ = router.Close()
	// Output: event-1
}

func ExampleMigrate() {
	ctx := context.Background()
	db, stop := exampleDatabase(ctx) // has an inbox already
	defer stop()
	report, err := inbox.Migrate(ctx, db, inbox.MigrateConfig{Table: "app_inbox", Logger: slog.Default()})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(report.Table, "version", report.To, "created:", report.Created)
	fmt.Println(inbox.Check(ctx, db, "app_inbox"))
	fmt.Println(inbox.Check(ctx, db, "nowhere"))
	// Output:
	// "public"."app_inbox" version 1 created: true
	// <nil>
	// inbox: the table does not exist: "nowhere": create it with `tailrace migrate --inbox=nowhere`, or inbox.Migrate
}

func ExampleInbox_Purge() {
	ctx := context.Background()
	db, stop := exampleDatabase(ctx)
	defer stop()
	_, _ = db.ExecContext(ctx, `INSERT INTO event_inbox VALUES ('welcome', 'event-1', now() - interval '8 days'), ('welcome', 'event-2', now())`)
	events, _ := bus.New(bus.Config{Service: "mailer", DB: db})
	box, _ := inbox.New(inbox.Config{Bus: events})
	fmt.Println(box.Purge(ctx))
	// Output: 1 <nil>
}
