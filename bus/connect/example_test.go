package connect_test

import (
	"context"
	"fmt"

	"github.com/tailrace-go/tailrace/bus/connect"
)

// Every mistake is in one error, by the variable's name.
func ExampleLoad() {
	config, err := connect.Load(map[string]string{
		"USE_OUTBOX_PATTERN": "yes",
		"SERVICE_NAME":       "user service",
		"DATABASE_URL":       "postgres://app:hunter2@db.example.com:port/users",
	})
	fmt.Println(err)
	fmt.Println(config.Validate())
	// Output:
	// connect: invalid configuration: USE_OUTBOX_PATTERN: is not a boolean: write true or false (1 and 0 will do)
	// connect: invalid configuration: SERVICE_NAME: topics: topic "user service" has ' ' at position 5: Kafka allows letters, digits, '.', '_' and '-'
	// connect: invalid configuration: DATABASE_URL: is not a connection string that lib/pq takes (it is not repeated here, since a password may be in it): write postgres://user:password@host:port/database, with what is special in the password percent-encoded
}

func ExampleOpen() {
	config, err := connect.Load(map[string]string{"SERVICE_NAME": "user-service", "USE_OUTBOX_PATTERN": "true"})
	if err != nil {
		fmt.Println(err)
	}
	_, err = connect.Open(context.Background(), config)
	fmt.Println(err)

	// One of the two ways out: publish directly. Kafka is connected to with the first event.
	direct := false
	config.UseOutbox = &direct
	connection, err := connect.Open(context.Background(), config)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(connection.Bus.Service(), connection.Bus.Outboxed(), connection.Close())
	// Output:
	// connect: invalid configuration: USE_OUTBOX_PATTERN: is true, but there is no database to have the outbox in: set DATABASE_URL to the service's database, or USE_OUTBOX_PATTERN=false to publish directly to KAFKA_BROKERS
	// user-service false <nil>
}

func ExampleDSN() {
	dsn := connect.DSN("postgres://app:hunter2@db.example.com:6432/users?sslmode=require")
	fmt.Println(dsn)
	// Output: postgres://app@db.example.com:6432/users?sslmode=require
}
