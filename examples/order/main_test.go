package main

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/examples/internal/stack"
)

// start returns the environment of servers that the test stops.
func start(t *testing.T) map[string]string {
	t.Helper()
	servers, err := stack.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, servers.Close()) })
	return servers.Environment()
}

func TestWalk(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	err := with(t.Context(), start(t), "127.0.0.1:0", func(ctx context.Context, a *app) error {
		require.NoError(t, walk(ctx, a, &out))
		for query, want := range map[string]string{
			`SELECT string_agg(concat_ws(' ', id, customer, status, cents), ', ' ORDER BY id) FROM orders`:       "order-1 ada confirmed 1200, order-3 cyd confirmed 585",
			`SELECT string_agg(concat_ws(' ', order_id, customer, cents), ', ' ORDER BY order_id) FROM invoices`: "order-1 ada 1200, order-3 cyd 585",
			`SELECT string_agg(concat_ws(' ', consumer, n), ', ' ORDER BY consumer)
				FROM (SELECT consumer, count(*) n FROM event_inbox GROUP BY 1) marks`: "billing 2, orders 2",
			// Of the refused order: no event but the audit event, with the user and without the card.
			`SELECT string_agg(concat_ws(' ', topic, event->'metadata'->>'user_id', event->'payload'->>'success',
					event#>>'{payload,operation_details,args,card_number}', event->'payload'->>'error_message'), ', ')
				FROM (SELECT topic, convert_from(payload, 'UTF8')::jsonb AS event FROM event_outbox WHERE key = 'order-2') refused`: "marty.audit.events bob false [redacted] 99 of tea: out of stock",
			`SELECT string_agg(DISTINCT event->'metadata'->>'source_ip', ', ')
				FROM (SELECT convert_from(payload, 'UTF8')::jsonb AS event FROM event_outbox) events`: "127.0.0.1",
		} {
			var have string
			require.NoError(t, a.connection.DB.QueryRowContext(ctx, query).Scan(&have), query)
			require.Equal(t, want, have)
		}
		return nil
	})
	require.NoError(t, err)
	for _, line := range []string{
		"order-1  placed, billed with VAT at 1200 cents, confirmed",
		"order-1  delivered to billing a second time: skipped",
		"order-2  refused: rolled back",
		"order-3  dead letter (no VAT rate for LU); rate added, requeued, confirmed",
		"order_confirmed   by orders   because of order_billed",
		"invoices                       2\n",
		"audit events, of failure       1\n",
		"events not yet sent            0\n",
	} {
		require.Contains(t, out.String(), line)
	}
}

// TestWalkSaysWhatIsWrong: there is an invoice for which there is no order.
func TestWalkSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	err := with(t.Context(), start(t), "127.0.0.1:0", func(ctx context.Context, a *app) error {
		_, err := a.connection.DB.ExecContext(ctx, `INSERT INTO invoices VALUES ('order-0', 'eve', 1)`)
		require.NoError(t, err)
		return walk(ctx, a, &out)
	})
	require.EqualError(t, err, "invoices: 3, where 2 were meant")
}

// TestServe: it stays up until it is interrupted, which is no error.
func TestServe(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var out strings.Builder
	err := with(ctx, start(t), "127.0.0.1:0", func(ctx context.Context, a *app) error {
		waited := make(chan error, 1)
		go func() { waited <- wait(ctx, a, &out) }()
		require.NoError(t, eventually(ctx, func() (bool, error) { // until the stock is there
			status, err := a.client().place(ctx, good)
			return status == http.StatusCreated, err
		}))
		_, err := a.client().confirmed(ctx, good.ID)
		require.NoError(t, err)
		require.NoError(t, expect(http.StatusConflict)(a.client().place(ctx, good)), "it is there already")
		invalid := good
		invalid.Quantity = -1
		require.NoError(t, expect(http.StatusBadRequest)(a.client().place(ctx, invalid)))
		interrupt()
		return <-waited
	})
	require.NoError(t, err)
	require.Contains(t, out.String(), "curl -i -X PUT http://127.0.0.1:")
}
