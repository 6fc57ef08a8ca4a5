package bus_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/topics"
)

// The change and its event are committed together, or neither is.
func ExampleBus_Transact() {
	ctx, db, stop := exampleDatabase()
	defer stop()
	b, err := bus.New(bus.Config{Service: "user-service", DB: db})
	if err != nil {
		fmt.Println(err)
		return
	}
	register := func(id, email string) error {
		return b.Transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, `INSERT INTO users (id, email) VALUES ($1, $2)`, id, email); err != nil {
				return err
			}
			if _, err := UserCreated.Publish(ctx, b, id, userCreatedData{Email: email}); err != nil {
				return err
			}
			if !strings.Contains(email, "@") {
				return errors.New("not an address")
			}
			return nil
		})
	}
	fmt.Println(register("user-1", "one@example.com"))
	fmt.Println(register("user-2", "two"))

	var events int
	fmt.Println(db.QueryRow(`SELECT count(*) FROM event_outbox`).Scan(&events), events)
	// Output:
	// <nil>
	// not an address
	// <nil> 1
}

// Code that begins its own transactions hands the one it has to the Bus.
func ExampleBus_InTx() {
	ctx, db, stop := exampleDatabase()
	defer stop()
	b, err := bus.New(bus.Config{Service: "user-service", DB: db})
	if err != nil {
		fmt.Println(err)
		return
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = b.InTx(tx).PublishAudit(ctx, envelopes.Audit{EventType: envelopes.DataDeleted, Action: "delete", ResourceType: "user", ResourceID: "user-1"})
	fmt.Println(err)
	fmt.Println(tx.Commit())

	_, err = b.InTx(tx).PublishAudit(ctx, envelopes.Audit{EventType: envelopes.DataDeleted, Action: "delete", ResourceType: "user"})
	fmt.Println(errors.Is(err, sql.ErrTxDone))
	// Output:
	// <nil>
	// <nil>
	// true
}

// Or puts it into the context, for code further down that knows only the Bus.
func ExampleBus_WithTx() {
	ctx, db, stop := exampleDatabase()
	defer stop()
	b, err := bus.New(bus.Config{Service: "user-service", DB: db})
	if err != nil {
		fmt.Println(err)
		return
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	inTx := b.WithTx(ctx, tx)
	_, err = UserCreated.Publish(inTx, b, "user-1", userCreatedData{Email: "one@example.com"})
	fmt.Println(err)
	fmt.Println(tx.Rollback())

	var events int
	fmt.Println(db.QueryRow(`SELECT count(*) FROM event_outbox`).Scan(&events), events)
	// Output:
	// <nil>
	// <nil>
	// <nil> 0
}

// A request that is retried publishes the same event again under the id it was given before.
func ExampleBus_Republish() {
	ctx, db, stop := exampleDatabase()
	defer stop()
	b, err := bus.New(bus.Config{Service: "user-service", DB: db})
	if err != nil {
		fmt.Println(err)
		return
	}
	event := UserCreated.New("user-1", userCreatedData{Email: "one@example.com"},
		bus.WithEventMetadata(envelopes.Metadata{EventID: "signup-7f3a"}))
	_, err = b.PublishDomain(ctx, event)
	fmt.Println(err)
	_, err = b.PublishDomain(ctx, event)
	fmt.Println(errors.Is(err, bus.ErrDuplicate))
	written, err := b.Republish(ctx, event)
	fmt.Println(written, err)
	// Output:
	// <nil>
	// true
	// 0 <nil>
}

// printer is a Watermill publisher that shows what it gets.
type printer struct{ fields []string }

func (p printer) Publish(topic string, msgs ...*message.Message) error {
	for _, msg := range msgs {
		fmt.Printf("%s: %s", topic, msg.Metadata.Get("ce_type"))
		for _, field := range p.fields {
			fmt.Printf(", %s %s", strings.Replace(field, "record_key", "key", 1), msg.Metadata.Get(field))
		}
		fmt.Println()
	}
	return nil
}

func (printer) Close() error { return nil }

func exampleBus() *bus.Bus {
	b, err := bus.New(bus.Config{
		Service: "user-service", Topics: topics.Naming{Prefix: "marty"}, Publisher: printer{fields: []string{"record_key"}},
	})
	if err != nil {
		panic(err)
	}
	return b
}

// exampleDatabase is a fresh database with the outbox table, on the server that the tests share.
func exampleDatabase() (context.Context, *sql.DB, func()) {
	ctx := context.Background()
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	server := bustest.SharedPostgres(exampleTB{})
	name, err := server.CreateDatabase(ctx, "example")
	must(err)
	db, err := sql.Open("postgres", server.DSN(name))
	must(err)
	_, err = outbox.Migrate(ctx, db, outbox.MigrateConfig{})
	must(err)
	_, err = db.ExecContext(ctx, `CREATE TABLE users (id text PRIMARY KEY, email text NOT NULL)`)
	must(err)
	return ctx, db, func() {
		must(db.Close())
		must(server.DropDatabase(ctx, name))
	}
}

// exampleTB stands in for the test that an Example does not have.
type exampleTB struct{ testing.TB }

func (exampleTB) Helper() {}

func (exampleTB) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
