package bus_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/envelopes"
)

// What tells of a failure must not be rolled back with it.
func ExampleBus_AfterTx() {
	ctx, db, stop := exampleDatabase()
	defer stop()
	b, err := bus.New(bus.Config{Service: "user-service", DB: db})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = b.Transact(ctx, func(ctx context.Context, _ *sql.Tx) error {
		b.AfterTx(ctx, func(committed bool) {
			if committed {
				return
			}
			_, err := b.PublishAudit(b.WithoutTx(ctx), envelopes.Audit{
				EventType: envelopes.DataDeleted, Action: "delete_user", ResourceType: "user", Failed: true,
			})
			fmt.Println("told of it:", err)
		})
		return errors.New("the user has open orders")
	})
	fmt.Println(err)
	var events int
	fmt.Println(db.QueryRow(`SELECT count(*) FROM event_outbox`).Scan(&events), events)
	// Output:
	// told of it: <nil>
	// the user has open orders
	// <nil> 1
}

// Code that has Watermill messages publishes them through the Bus as they are.
func ExampleBus_Publisher() {
	recorder := bustest.NewRecorder()
	b, err := bus.New(bus.Config{Service: "user-service", Publisher: recorder})
	if err != nil {
		fmt.Println(err)
		return
	}
	msg := message.NewMessage("0190b8e4-7b1c-7cc3-98c4-dc0c0c07398f", []byte(`{"order": 7}`))
	msg.Metadata.Set(delivery.KeyMetadata, "order-7")
	fmt.Println(b.Publisher().Publish("orders", msg))
	for _, published := range recorder.Events() {
		key, _ := published.Key()
		fmt.Println(published.Topic, key, string(published.Message.Payload))
	}
	// Output:
	// <nil>
	// orders order-7 {"order": 7}
}
