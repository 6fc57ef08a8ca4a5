package demo

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
)

func TestMain(m *testing.M) { bustest.Main(m) }

func setup(t *testing.T) (Config, *bytes.Buffer) {
	t.Helper()
	out := &bytes.Buffer{}
	return Config{Out: out, DatabaseURL: bustest.SharedPostgres(t).DSN(""), Users: 40}, out
}

func TestRun(t *testing.T) {
	t.Parallel()
	config, out := setup(t)

	require.NoError(t, Run(t.Context(), config))

	for _, want := range []string{
		"40 users registered, 4 refused", "took 3 attempts", "user-013 is a dead letter", "is stopped",
		"lost 0   reordered within a key 0   duplicated 0", "p50", "p99",
	} {
		require.Contains(t, out.String(), want)
	}
	require.Regexp(t, `marty\.audit\.events +120 +120 +120 +0\n`, out.String())
	require.Regexp(t, `marty\.user-service\.user\.user_created +40 +40 +39 +1\n`, out.String())
	require.Regexp(t, `total +280 +280 +279 +1\n`, out.String())
}

// TestRunFailsWhenACountIsWrong: an event that the service believes to have published is nowhere.
func TestRunFailsWhenACountIsWrong(t *testing.T) {
	t.Parallel()
	config, out := setup(t)
	d, err := prepare(config)
	require.NoError(t, err)
	missing := Event{Topic: d.names.audit, Key: "user-000", ID: "never-written"}
	d.ledger.Published(missing)
	d.ledger.Consumed(missing)

	err = d.run(t.Context())

	require.ErrorContains(t, err, "marty.audit.events: 1 published and not in Kafka")
	require.Contains(t, out.String(), "lost 1")
}

// TestRunGivesUp on an event that never comes to its end.
func TestRunGivesUp(t *testing.T) {
	t.Parallel()
	config, _ := setup(t)
	config.Patience = time.Second
	d, err := prepare(config)
	require.NoError(t, err)
	d.ledger.Published(Event{Topic: d.names.audit, Key: "user-000", ID: "never-written"})

	require.ErrorContains(t, d.run(t.Context()), "wait for the last event: not within 1s")
}

// TestRunStopsWithItsContext, wherever it stands, and leaves no database behind.
func TestRunStopsWithItsContext(t *testing.T) {
	t.Parallel()
	for _, after := range []string{"✓ PostgreSQL", "✓ Kafka", "created", "forwarder and router", "registered"} {
		t.Run(after, func(t *testing.T) {
			t.Parallel()
			config, _ := setup(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			config.Out = &trigger{on: after, do: cancel}
			d, err := prepare(config)
			require.NoError(t, err)

			require.ErrorIs(t, d.run(ctx), context.Canceled)

			require.Error(t, d.servers.db.PingContext(t.Context()), "its pool is closed")
		})
	}
}

// trigger does something once a text is written to it.
type trigger struct {
	on string
	do func()
}

func (t *trigger) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(t.on)) {
		t.do()
	}
	return len(p), nil
}
