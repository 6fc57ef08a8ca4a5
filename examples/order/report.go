package main

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// The outbox keeps what it has sent, for 7 days.
const (
	decoded = `SELECT count(*) FROM (SELECT convert_from(payload, 'UTF8')::jsonb AS event FROM event_outbox) AS decoded `
	audits  = ` WHERE event->'payload'->>'resource_type' = 'order'`
)

// report prints what a request caused, and counts what is in the tables.
func report(ctx context.Context, a *app, out io.Writer) error {
	if err := a.sent(ctx); err != nil {
		return err
	}
	if err := a.chain(ctx, out, "checkout-17"); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(out, "\n  In the tables:")
	var faults []error
	for _, count := range []struct {
		what, query string
		want        int
	}{
		{"orders, confirmed", `SELECT count(*) FROM orders WHERE status = 'confirmed'`, 2},
		{"orders, other", `SELECT count(*) FROM orders WHERE status <> 'confirmed'`, 0},
		{"invoices", `SELECT count(*) FROM invoices`, 2},
		{"tea in stock, of 10", `SELECT quantity FROM stock WHERE sku = 'tea'`, 7},
		{"audit events, of success", decoded + audits + ` AND (event->'payload'->>'success')::bool`, 2},
		{"audit events, of failure", decoded + audits + ` AND NOT (event->'payload'->>'success')::bool`, 1},
		{"events with a card number", decoded + ` WHERE event::text LIKE '%4000 0000%'`, 0},
		{"events handled once (inbox)", `SELECT count(*) FROM event_inbox`, 4},
		{"events not yet sent", `SELECT count(*) FROM event_outbox WHERE processed_at IS NULL`, 0},
	} {
		var have int
		if err := a.connection.DB.QueryRowContext(ctx, count.query).Scan(&have); err != nil {
			return fmt.Errorf("count %s: %w", count.what, err)
		}
		_, _ = fmt.Fprintf(out, "    %-28s %3d\n", count.what, have)
		if have != count.want {
			faults = append(faults, fmt.Errorf("%s: %d, where %d were meant", count.what, have, count.want))
		}
	}
	return errors.Join(faults...)
}

// sent waits until all that is in the outbox was sent.
func (a *app) sent(ctx context.Context) error {
	err := eventually(ctx, func() (sent bool, err error) {
		return sent, a.connection.DB.QueryRowContext(ctx, `SELECT NOT EXISTS (SELECT FROM event_outbox WHERE processed_at IS NULL)`).Scan(&sent)
	})
	if err != nil {
		return fmt.Errorf("wait until the outbox is sent: %w", err)
	}
	return nil
}

// chain prints what a request caused, in the order in which it was written.
func (a *app) chain(ctx context.Context, out io.Writer, correlationID string) error {
	_, _ = fmt.Fprintf(out, "\n  What the request %s caused:\n", correlationID)
	rows, err := a.connection.DB.QueryContext(ctx, `
		WITH events AS (SELECT id, event_id, convert_from(payload, 'UTF8')::jsonb AS event FROM event_outbox)
		SELECT e.event->>'event_type', e.event->'metadata'->>'service_name', coalesce(cause.event->>'event_type', 'the request')
		FROM events e LEFT JOIN events cause ON cause.event_id = e.event->'metadata'->>'causation_id'
		WHERE e.event->'metadata'->>'correlation_id' = $1 ORDER BY e.id`, correlationID)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var event, service, cause string
		if err := rows.Scan(&event, &service, &cause); err != nil {
			return err
		}
		_, _ = fmt.Fprintf(out, "    %-17s by %-8s because of %s\n", event, service, cause)
	}
	return rows.Err()
}
