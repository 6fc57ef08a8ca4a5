package main

import (
	"context"
	"database/sql"
	"io"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
)

// publishNoMoreDirectly: what was published to Kafka from within a transaction goes to the outbox, as the
// same message to the same topic, so that its consumers need not change. Every fifth transaction fails.
func (a *app) publishNoMoreDirectly(ctx context.Context, out io.Writer) error {
	var issued ledger
	issue := func(publisher message.Publisher) error {
		for i := range 20 {
			fail := i%5 == 4
			err := a.transact(ctx, fail, func(tx *sql.Tx) error {
				msg := newMessage(uuid.NewString(), userID(i), []byte(`{"document_number": "C-1"}`))
				if !fail {
					issued.add(userID(i), msg.UUID)
				}
				msg.SetContext(a.bus.WithTx(ctx, tx)) // new: the Bus takes the transaction from it
				return publisher.Publish(a.names.issued, msg)
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
	if err := issue(a.publisher); err != nil {
		return err
	}
	if err := a.count(ctx, out, "c  directly to Kafka", a.names.issued, &issued, found{phantoms: 4}); err != nil {
		return err
	}
	if err := issue(a.bus.Publisher()); err != nil {
		return err
	}
	if err := a.settled(ctx); err != nil {
		return err
	}
	return a.count(ctx, out, "c  through the Bus's outbox", a.names.issued, &issued, found{phantoms: 4})
}
