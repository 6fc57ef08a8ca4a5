// Package billing is the billing service.
package billing

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/examples/order/events"
)

// Schema is the service's tables.
const Schema = `
CREATE TABLE vat_rates (country text PRIMARY KEY, percent int NOT NULL);
CREATE TABLE invoices  (order_id text PRIMARY KEY, customer text NOT NULL, cents bigint NOT NULL);`

// Service bills what was ordered.
type Service struct{ Bus *bus.Bus }

// Bill bills an order. The inbox calls it, in a transaction: the invoice, the event and the mark that the
// order was billed are there together or not at all.
func (s Service) Bill(ctx context.Context, placed consumer.Event[events.Placed]) error {
	tx, _ := s.Bus.SQLTxFrom(ctx)
	var percent int64
	err := tx.QueryRowContext(ctx, `SELECT percent FROM vat_rates WHERE country = $1`, placed.Data.Country).Scan(&percent)
	if errors.Is(err, sql.ErrNoRows) {
		// Trying again would not help: to the dead letters with it, at once.
		return consumer.Permanent(fmt.Errorf("no VAT rate for %s", placed.Data.Country))
	}
	if err != nil {
		return fmt.Errorf("find the VAT rate: %w", err)
	}
	cents := placed.Data.Cents * (100 + percent) / 100
	_, err = tx.ExecContext(ctx, `INSERT INTO invoices VALUES ($1, $2, $3)`, placed.AggregateID, placed.Data.Customer, cents)
	if err != nil {
		return fmt.Errorf("insert the invoice: %w", err)
	}
	_, err = events.OrderBilled.Publish(ctx, s.Bus, placed.AggregateID, events.Billed{Cents: cents})
	return err
}
