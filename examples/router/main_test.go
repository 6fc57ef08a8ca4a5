package main

import (
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/connect"
	"github.com/tailrace-go/tailrace/examples/internal/stack"
)

func start(t *testing.T) connect.Config {
	t.Helper()
	servers, err := stack.StartKafka(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, servers.Close()) })
	settings, err := connect.Load(servers.Environment())
	require.NoError(t, err)
	return settings
}

func TestRun(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	require.NoError(t, walk(t.Context(), start(t), &out))
	for _, row := range []string{
		`audit-log +consumer.Audit +3 +0`,
		`greeter +returns a notification +3 +0`,
		`mailer +consumer.Notification, .* +3 +0`,
		`loyalty +Watermill's cqrs.EventProcessor +1 +0`,
		`clicks +.* skipped +2 +0`,
		`carts +.* set aside +3 +0`,
		`ledger +.* kept +2 +2`,
		`archive +stopped with a message in hand +2 +1`,
	} {
		require.Regexp(t, row+"\n", out.String())
	}
}

// TestDecorators: what the greeter returned went through the router's publisher decorators.
func TestDecorators(t *testing.T) {
	t.Parallel()
	s, err := newService(t.Context(), start(t))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.publisher.Close()) }()
	require.NoError(t, s.publish(t.Context()))
	require.NoError(t, (&release{service: s, knowsCoupons: true}).run(t.Context(), map[string]int{"greeter": 3, "mailer": 3}))
	families, err := s.metrics.Gather()
	require.NoError(t, err)
	published := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			published[family.GetName()] += metric.GetCounter().GetValue()
		}
	}
	require.GreaterOrEqual(t, published["tailrace_publisher_messages_total"], 3.0)
}

// TestReportSaysWhatIsWrong: an event that a handler never had.
func TestReportSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	whole := map[string]int{
		"audit-log": 3, "crm": 3, "search": 3, "greeter": 3, "mailer": 3, "loyalty": 1,
		"clicks": 2, "carts": 3, "dead-letters": 1, "ledger": 4, "archive": 3,
	}
	var out strings.Builder
	require.NoError(t, (&service{}).report(&out, whole, whole))
	short := maps.Clone(whole)
	short["ledger"]--
	require.EqualError(t, (&service{}).report(&out, whole, short), "ledger handled 3 events, where 4 were meant")
}
