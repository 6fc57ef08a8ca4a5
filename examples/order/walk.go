package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/examples/order/events"
	"github.com/tailrace-go/tailrace/examples/order/orders"
)

// The three orders of the walk.
var (
	good    = orders.NewOrder{ID: "order-1", Customer: "ada", Country: "AT", SKU: "tea", Quantity: 2, CardNumber: "4000 0000 0000 0002"}
	tooMuch = orders.NewOrder{ID: "order-2", Customer: "bob", Country: "AT", SKU: "tea", Quantity: 99, CardNumber: "4000 0000 0000 0010"}
	abroad  = orders.NewOrder{ID: "order-3", Customer: "cyd", Country: "LU", SKU: "tea", Quantity: 1, CardNumber: "4000 0000 0000 0028"}
)

// walk shows the way of an order, and what can happen on it.
func walk(ctx context.Context, a *app, out io.Writer) error {
	_, _ = fmt.Fprint(out, "\n  Three orders, from the HTTP request to the confirmation:\n\n")
	if err := a.seed(ctx); err != nil {
		return err
	}
	for _, step := range []func(context.Context, *app, io.Writer) error{straight, again, refused, mended, report} {
		if err := step(ctx, a, out); err != nil {
			return err
		}
	}
	return nil
}

// seed fills the tables that the services find filled in real life.
func (a *app) seed(ctx context.Context) error {
	_, err := a.connection.DB.ExecContext(ctx, `INSERT INTO stock VALUES ('tea', 10, 500); INSERT INTO vat_rates VALUES ('AT', 20)`)
	return err
}

// straight is an order that is billed and confirmed.
func straight(ctx context.Context, a *app, out io.Writer) error {
	customer := a.client()
	ctx = bus.WithMetadata(ctx, bus.Metadata{CorrelationID: "checkout-17"})
	if err := expect(http.StatusCreated)(customer.place(ctx, good)); err != nil {
		return err
	}
	order, err := customer.confirmed(ctx, good.ID)
	if err != nil {
		return fmt.Errorf("wait for %s: %w", good.ID, err)
	}
	_, _ = fmt.Fprintf(out, "  %s  placed, billed with VAT at %d cents, confirmed\n", order.ID, order.Cents)
	return nil
}

// again delivers an event a second time, as a crash between the forwarder's send and its note of it does.
func again(ctx context.Context, a *app, out io.Writer) error {
	err := eventually(ctx, func() (bool, error) { // once it was noted as sent
		result, err := a.connection.DB.ExecContext(ctx, `UPDATE event_outbox SET processed_at = NULL
			WHERE topic LIKE '%order_placed' AND key = $1 AND processed_at IS NOT NULL`, []byte(good.ID))
		if err != nil {
			return false, err
		}
		changed, err := result.RowsAffected()
		return changed == 1, err
	})
	if err != nil {
		return fmt.Errorf("send the event of %s again: %w", good.ID, err)
	}
	if err := a.client().metric(ctx, `tailrace_inbox_duplicates_total{consumer="billing",inbox="event_inbox"}`, 1); err != nil {
		return fmt.Errorf("wait for the second delivery: %w", err)
	}
	_, _ = fmt.Fprintf(out, "  %s  delivered to billing a second time: skipped\n", good.ID)
	return nil
}

// refused is an order that breaks a rule of the business.
func refused(ctx context.Context, a *app, out io.Writer) error {
	if err := expect(http.StatusConflict)(a.client().place(ctx, tooMuch)); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "  %s  refused: rolled back, but for the audit event that says so\n", tooMuch.ID)
	return nil
}

// mended is an order that billing cannot handle until somebody helps.
func mended(ctx context.Context, a *app, out io.Writer) error {
	if err := expect(http.StatusCreated)(a.client().place(ctx, abroad)); err != nil {
		return err
	}
	if err := a.client().metric(ctx, a.deadLetters(), 1); err != nil {
		return fmt.Errorf("wait for the dead letter: %w", err)
	}
	if _, err := a.connection.DB.ExecContext(ctx, `INSERT INTO vat_rates VALUES ('LU', 17)`); err != nil {
		return err
	}
	var letters []deadletter.Letter
	letters, err := a.requeue(ctx, events.Billing)
	if err != nil {
		return err
	}
	if len(letters) != 1 {
		return fmt.Errorf("%d dead letters were requeued, where 1 was meant", len(letters))
	}
	order, err := a.client().confirmed(ctx, abroad.ID)
	if err != nil {
		return fmt.Errorf("wait for %s: %w", abroad.ID, err)
	}
	_, _ = fmt.Fprintf(out, "  %s  dead letter (%s); rate added, requeued, confirmed\n", order.ID, letters[0].Reason)
	return nil
}

// expect checks the status of an answer.
func expect(want int) func(int, error) error {
	return func(status int, err error) error {
		if err == nil && status != want {
			err = errors.New(http.StatusText(status) + " was answered, where " + http.StatusText(want) + " was meant")
		}
		return err
	}
}

// wait stays until it is interrupted.
func wait(ctx context.Context, a *app, out io.Writer) error {
	if err := a.seed(ctx); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, `
  The stock has 10 tea; billing knows the VAT of AT alone. Try:

    curl -i -X PUT %[1]s/orders/order-1 -H 'X-User: ada' -H 'X-Correlation-ID: checkout-17' \
         -d '{"customer": "ada", "country": "AT", "sku": "tea", "quantity": 2, "card_number": "4000"}'
    curl %[1]s/orders/order-1
    curl -s %[1]s/metrics | grep -e outbox -e consumer_messages -e events_total

  Ctrl-C stops.
`, a.url())
	<-ctx.Done()
	return nil
}
