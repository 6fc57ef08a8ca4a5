package orders

import (
	"context"
	"fmt"

	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/examples/order/events"
)

// Confirm confirms an order that was billed, and tells the customer. The inbox calls it, in a transaction
// that the events join.
func (s *Service) Confirm(ctx context.Context, billed consumer.Event[events.Billed]) error {
	tx, _ := s.bus.SQLTxFrom(ctx)
	var customer string
	err := tx.QueryRowContext(ctx, `UPDATE orders SET status = 'confirmed', cents = $2 WHERE id = $1 RETURNING customer`,
		billed.AggregateID, billed.Data.Cents).Scan(&customer)
	if err != nil {
		return fmt.Errorf("confirm the order: %w", err)
	}
	_, err = s.bus.PublishAll(ctx,
		events.OrderConfirmed.New(billed.AggregateID, events.Confirmed{Customer: customer}),
		envelopes.Notification{
			EventType: "order.confirmed", RecipientType: envelopes.RecipientUser, RecipientIDs: []string{customer},
			Subject: "Your order " + billed.AggregateID, Message: "We are packing it.",
		})
	return err
}
