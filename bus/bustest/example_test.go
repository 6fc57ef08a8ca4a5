package bustest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/envelopes"
)

// t is the test's own in a test.
var t testing.TB

func ExampleRecorder() {
	rec := bustest.NewRecorder()
	b, err := bus.New(bus.Config{Service: "user-service", Publisher: rec})
	if err != nil {
		panic(err)
	}
	_, err = b.PublishDomain(context.Background(), envelopes.Domain{
		AggregateType: "user", AggregateID: "u-1", EventType: "user_created",
		EventData: map[string]string{"email": "ada@example.org"},
	})
	if err != nil {
		panic(err)
	}
	for _, event := range rec.Events() {
		fmt.Println(event)
	}
	// Output: domain user_created, user u-1, on user-service.user.user_created
}

// In a test, the failure text says what was published instead.
func ExampleRequireDomain() { //nolint:testableexamples // It needs a test's t.
	rec := bustest.NewRecorder()
	// … the code under test publishes to a bus over rec …
	event := bustest.RequireDomain(t, rec, "user", "user_created", func(event envelopes.Domain) bool {
		return event.AggregateID == "u-1"
	})
	data, _ := envelopes.DataAs[struct{ Email string }](event)
	fmt.Println(data.Email)
}

// What the expectation leaves out may be anything.
func ExampleRequire() { //nolint:testableexamples // It needs a test's t.
	rec := bustest.NewRecorder()
	// … the code under test publishes to a bus over rec …
	bustest.Require(t, rec, envelopes.Audit{ResourceID: "u-1", NewState: map[string]any{"active": true}})
}

// With a definition, the data comes back with its type.
func ExampleRequireEvent() { //nolint:testableexamples // It needs a test's t.
	rec := bustest.NewRecorder()
	// … the code under test publishes to a bus over rec …
	data := bustest.RequireEvent(t, rec, userCreated, "u-1")
	fmt.Println(data.Name)
}

func ExampleRequireExactly() { //nolint:testableexamples // It needs a test's t.
	rec := bustest.NewRecorder()
	// … the code under test publishes to a bus over rec …
	bustest.RequireExactly(t, rec,
		bustest.Like(userCreated.New("u-1", user{Name: "ada"})).On("user-service.user.user_created"),
		bustest.Like(envelopes.Audit{ResourceID: "u-1"}).Keyed("u-1"))
}

// After a rollback there is nothing in the outbox.
func ExampleOutboxOf() { //nolint:testableexamples // It needs a test's t.
	db, _ := bustest.Postgres(t)
	// … the code under test publishes in a transaction of db, and fails …
	bustest.RequireNothing(t, bustest.OutboxOf(t, db))
}

// The first call fails; the second one arrives, but its caller is told otherwise.
func ExampleWithFaults() {
	rec := bustest.NewRecorder()
	publisher := bustest.WithFaults(rec,
		bustest.Nth(1, bustest.FailWith(errors.New("broker away"))),
		bustest.Nth(1, bustest.LoseAnswer(errors.New("no answer"))))
	for range 3 {
		err := publisher.Publish("orders", message.NewMessage("1", nil))
		fmt.Println(err, len(rec.Events()))
	}
	// Output:
	// broker away 0
	// no answer 1
	// <nil> 2
}

func ExampleRequireNothing() { //nolint:testableexamples // It needs a test's t.
	rec := bustest.NewRecorder()
	// … the code under test fails before it publishes …
	bustest.RequireNothing(t, rec)
}

func ExamplePostgres() { //nolint:testableexamples // It needs a test's t.
	db, dsn := bustest.Postgres(t) // empty, and gone after the test
	_, _ = db.Exec("CREATE TABLE users (id int)")
	_ = dsn // for what connects by itself
}

func ExampleStartPostgres() {
	server, err := bustest.StartPostgres(context.Background(), bustest.PostgresConfig{
		Settings: map[string]string{"log_min_duration_statement": "0"},
	})
	if err != nil {
		panic(err)
	}
	defer func() { _ = server.Stop() }()

	ctx := context.Background()
	_ = server.Kill() // as a crash would
	fmt.Println(server.Restart(ctx))

	db, _ := sql.Open("postgres", server.DSN("postgres"))
	defer db.Close()
	fmt.Println(db.PingContext(ctx))
	// Output:
	// <nil>
	// <nil>
}

func ExampleKafka() { //nolint:testableexamples // It needs a test's t.
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "user-service.user.user_created", 6, map[string]string{"max.message.bytes": "100000"})
	// … the code under test connects to broker.Brokers() …
	for _, record := range broker.WaitRecords(t, "user-service.user.user_created", 1, 10*time.Second) {
		fmt.Println(record.Partition, record.Offset, string(record.Key))
	}
}

func ExampleBroker_FailProduce() { //nolint:testableexamples // It needs a test's t.
	broker := bustest.Kafka(t)
	lost := false
	broker.FailBatch(func(batch bustest.Batch) bustest.Action {
		switch {
		case batch.Partition == 1:
			return bustest.RefuseBefore(sarama.ErrNotEnoughReplicas)
		case batch.Partition == 0 && !lost:
			lost = true // the client does not learn that it was appended
			return bustest.DropAfter
		default:
			return bustest.Pass
		}
	})
}

func ExampleBroker_Restart() { //nolint:testableexamples // It needs a test's t.
	broker := bustest.Kafka(t)
	broker.Stop()
	// … the code under test waits for the broker to come back …
	broker.Restart(t)
}
