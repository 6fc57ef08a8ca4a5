package main

import (
	"context"
	"database/sql"
	"io"

	"github.com/tailrace-go/tailrace/bus"
)

type renaming struct {
	Name string `json:"name"`
}

var userRenamed = bus.Define[renaming]("user", "user_renamed")

// publishByBus publishes through the Bus beside the INSERTs by hand, in the same transactions and to the
// same topic. Every fourth transaction is rolled back.
func (a *app) publishByBus(ctx context.Context, out io.Writer) error {
	var renamed ledger
	for i := range 40 {
		fail := i%4 == 3
		err := a.transact(ctx, fail, func(tx *sql.Tx) error {
			byHand, err := insertByHand(ctx, tx, a.names.renamed, "user_renamed", userID(i))
			if err != nil {
				return err
			}
			byBus, err := userRenamed.Publish(ctx, a.bus.InTx(tx), userID(i), renaming{Name: "Ada"})
			if !fail {
				renamed.add(userID(i), byHand, byBus)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := a.settled(ctx); err != nil {
		return err
	}
	return a.count(ctx, out, "b  INSERT and Bus in one transaction", a.names.renamed, &renamed, found{})
}
