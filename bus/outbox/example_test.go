package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"

	"github.com/ThreeDotsLabs/watermill"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/outbox"
)

// example runs an Example's body on a database of its own: an Example has no testing.TB to ask for one.
func example(run func(ctx context.Context, db *sql.DB)) {
	ctx := context.Background()
	server, err := bustest.StartPostgres(ctx, bustest.PostgresConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = server.Stop() }()
	name, err := server.CreateDatabase(ctx, "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	db, err := sql.Open("postgres", server.DSN(name))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = db.Close() }()
	run(ctx, db)
}

func Example() {
	example(func(ctx context.Context, db *sql.DB) {
		report, err := outbox.Migrate(ctx, db, outbox.MigrateConfig{})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("created:", report.Created)

		writer, err := outbox.NewWriter(outbox.WriterConfig{DB: db})
		if err != nil {
			fmt.Println(err)
			return
		}
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer func() { _ = tx.Rollback() }()
		registered := message.NewMessage("0192f2c5-0000-7000-8000-000000000001", []byte(`{"name":"Ada"}`))
		registered.Metadata.Set(delivery.KeyMetadata, "user-1")
		welcome := message.NewMessage("0192f2c5-0000-7000-8000-000000000002", []byte(`{"to":"user-1"}`))
		err = writer.Write(ctx, tx, []string{"marty.users.user.registered", "marty.notification.events"}, []*message.Message{registered, welcome})
		if err != nil {
			fmt.Println(err)
			return
		}
		if err := tx.Commit(); err != nil {
			fmt.Println(err)
			return
		}
		status, err := outbox.Status(ctx, db, "")
		fmt.Println("pending:", status.Pending, err)
	})
	// Output:
	// created: true
	// pending: 2 <nil>
}

// Watermill's own publisher writes to the outbox with our schema adapter.
func ExampleSchemaAdapter() {
	example(func(ctx context.Context, db *sql.DB) {
		if _, err := outbox.Migrate(ctx, db, outbox.MigrateConfig{}); err != nil {
			fmt.Println(err)
			return
		}
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer func() { _ = tx.Rollback() }()
		publisher, err := wsql.NewPublisher(tx, wsql.PublisherConfig{SchemaAdapter: outbox.SchemaAdapter{}}, watermill.NopLogger{})
		if err != nil {
			fmt.Println(err)
			return
		}
		err = publisher.Publish("marty.audit.events", message.NewMessage(watermill.NewUUID(), []byte(`{}`)))
		fmt.Println(err, tx.Commit())
	})
	// Output: <nil> <nil>
}

// A Watermill subscriber on the outbox: acked is processed.
func ExampleNewSubscriber() {
	example(func(ctx context.Context, db *sql.DB) {
		if _, err := outbox.Migrate(ctx, db, outbox.MigrateConfig{}); err != nil {
			fmt.Println(err)
			return
		}
		writer, err := outbox.NewWriter(outbox.WriterConfig{DB: db})
		if err != nil {
			fmt.Println(err)
			return
		}
		if err := writer.Publish("orders", message.NewMessage("1", []byte("placed"))); err != nil {
			fmt.Println(err)
			return
		}
		subscriber, err := outbox.NewSubscriber(outbox.SubscriberConfig{DB: db}, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		messages, err := subscriber.Subscribe(ctx, "orders")
		if err != nil {
			fmt.Println(err)
			return
		}
		msg := <-messages
		fmt.Println(string(msg.Payload))
		msg.Ack()
		fmt.Println(subscriber.Close())
	})
	// Output:
	// placed
	// <nil>
}

func ExamplePrintMigrations() {
	var sql strings.Builder
	if err := outbox.PrintMigrations(&sql, "billing.event_outbox"); err != nil {
		fmt.Println(err)
		return
	}
	for line := range strings.Lines(sql.String()) {
		if strings.HasPrefix(line, "-- 0") || strings.HasPrefix(line, "CREATE") {
			_, _ = os.Stdout.WriteString(line)
		}
	}
	// Output:
	// CREATE TABLE IF NOT EXISTS "billing"."event_outbox_migrations" (
	// -- 00001_create_table.sql
	// -- 00002_columns.sql
	// -- 00003_indexes.sql
	// CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS "event_outbox_event_id_topic_key" ON "billing"."event_outbox" (event_id, topic);
	// CREATE INDEX CONCURRENTLY IF NOT EXISTS "event_outbox_retry_idx" ON "billing"."event_outbox" (id) WHERE retry_count > 0;
	// -- 00004_forwarder.sql
	// CREATE TABLE IF NOT EXISTS "billing"."event_outbox_forwarder" (
}
