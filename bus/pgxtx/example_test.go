//nolint:testableexamples // It needs a database; docs/transactions.md has one that runs.
package pgxtx_test

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/pgxtx"
)

// service is what a service has.
var service struct {
	pool *pgxpool.Pool
	bus  *bus.Bus
}

func ExampleNew() {
	ctx, pool, b := context.Background(), service.pool, service.bus
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO users (id, email) VALUES ($1, $2)`, "user-1", "ada@example.com"); err != nil {
			return err
		}
		_, err := userCreated.Publish(ctx, b.InTx(pgxtx.New(tx)), "user-1", user{Email: "ada@example.com"})
		return err
	})
	fmt.Println(err)
}
