package main_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/connect"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/envelopes"
)

// TestAnOutboxIsSplitWhileItIsForwarded, by the commands and variables that an operator has.
func TestAnOutboxIsSplitWhileItIsForwarded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	env := []string{"DATABASE_URL=" + b.dsn, "KAFKA_BROKERS=" + strings.Join(b.broker.Brokers(), ",")}
	forward := b.forward()
	config, err := connect.Load(map[string]string{"DATABASE_URL": b.dsn, "EVENT_OUTBOX_SHARDS": "1", "SERVICE_NAME": "orders"})
	require.NoError(t, err)
	connection, err := connect.Open(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, connection.Close()) })
	publish := func() error {
		events := make([]envelopes.Event, 20)
		for i := range events {
			events[i] = envelopes.Custom{Topic: "orders", Key: fmt.Sprintf("order-%d", i), EventType: "placed", Payload: i}
		}
		_, err := connection.Bus.PublishAll(t.Context(), events...)
		return err
	}
	require.ErrorContains(t, publish(), "`tailrace migrate --shards 1`")
	for i, shards := range []string{"1", "4"} {
		code, output := run(t, env, "migrate", "--shards", shards)
		require.Zero(t, code, output)
		require.NoError(t, publish())
		b.waitArrived(20 * (i + 1))
	}
	code, output := run(t, env, "migrate", "--shards", "3")
	require.Equal(t, 1, code)
	require.Contains(t, output, "has 4 shards, and 3 were asked for")
	code, output = run(t, env, "migrate")
	require.Zero(t, code)
	require.Contains(t, output, `"event_outbox_shard_3" is up to date`)
	require.Eventually(t, func() bool {
		code, output = run(t, env, "status")
		return code == 0 && strings.Count(output, "pending") == 4 && !strings.Contains(output, "not open") && !strings.Contains(output, "nobody")
	}, patience, 100*tick)
	require.Regexp(t, `shard +4 of 4\n`, output)

	// A dead event of a shard is sent again from its row.
	b.broker.CreateTopic(t, letterTopic, 1, nil)
	_, err = b.db.ExecContext(t.Context(), `INSERT INTO event_outbox_shard_2 (event_id, topic, payload, max_retries, headers) VALUES ('dead', $1, '{}', 1, '{"n": 1}')`, topic)
	require.NoError(t, err)
	b.broker.WaitRecords(t, letterTopic, 1, patience)
	dead := func() (n int) {
		require.NoError(t, b.db.QueryRowContext(t.Context(), `SELECT count(*) FROM event_outbox_shard_2 WHERE retry_count >= max_retries AND processed_at IS NULL`).Scan(&n))
		return n
	}
	require.Eventually(t, func() bool { return dead() == 1 }, patience, tick)
	_, err = b.db.ExecContext(t.Context(), `UPDATE event_outbox_shard_2 SET headers = NULL WHERE event_id = 'dead'`)
	require.NoError(t, err)
	forward.stop()
	code, output = run(t, env, "deadletters", "requeue", "--all")
	require.Zero(t, code, output)
	require.Contains(t, output, "revived 1 (")
	forward = b.forward() // which looks at everything, now and not some time
	b.waitArrived(41)
	forward.stop()
	require.Equal(t, 41, b.arrived(), "each once")

	code, output = run(t, env, "forward", "--engine", "watermill", "--http-addr", "off")
	require.Equal(t, 1, code, output)
	require.Contains(t, output, "has 4 shards, and this reads one table by itself")
}

// TestPrintHasTheShardsToo, and running what it prints makes them.
func TestPrintHasTheShardsToo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	code, output := run(t, nil, "migrate", "--print", "--shards", "3")
	require.Zero(t, code, output)
	for statement := range strings.SplitSeq(output, "\n\n") {
		_, err := b.db.ExecContext(t.Context(), statement)
		require.NoError(t, err, statement)
	}
	shards, err := outbox.Shards(t.Context(), b.db, "")
	require.NoError(t, err)
	require.Len(t, shards, 3)
	_, output = run(t, nil, "migrate", "--print")
	require.NotContains(t, output, "shard")
	code, output = run(t, nil, "migrate", "--print", "--shards", "65")
	require.Equal(t, 2, code)
	require.Contains(t, output, "--shards")
}
