package main_test

import (
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
)

// TestPlainRowsAreForwarded: an application wrote with plain SQL, and only the guide's columns.
func TestPlainRowsAreForwarded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.db.ExecContext(t.Context(), `INSERT INTO event_outbox (event_id, topic, payload, key) VALUES
		('with-key', $1, '{"n": 1}', 'user-1'), ('without-key', $1, '{"n": 2}', NULL), ('empty-key', $1, '{"n": 3}', '')`, topic)
	require.NoError(t, err)
	p := b.forward()
	b.waitSettled()

	byID := map[string]bustest.Record{}
	for _, record := range b.broker.WaitRecords(t, topic, 3, patience) {
		id, ok := record.Header("_watermill_message_uuid")
		require.True(t, ok)
		byID[id] = record
	}
	require.Len(t, byID, 3)
	require.Equal(t, "user-1", string(byID["with-key"].Key))
	require.JSONEq(t, `{"n": 1}`, string(byID["with-key"].Value))
	require.Len(t, byID["with-key"].Headers, 1, "no header is made up")
	require.Nil(t, byID["without-key"].Key, "no key is a null key")
	p.stop()
}

// TestZeroRetentionDeletes: with --retention 0 no delivered row is left.
func TestZeroRetentionDeletes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	load := b.startLoad(1, 10)
	load.release(100)
	load.finish()
	p := b.forward("--retention", "0")
	b.waitArrived(100)
	require.Eventually(t, func() bool { return b.count("true") == 0 }, patience, tick)
	p.stop()
}

// TestTableOfAnotherName: both commands take it, with its schema.
func TestTableOfAnotherName(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.db.ExecContext(t.Context(), `CREATE SCHEMA app`)
	require.NoError(t, err)
	env := []string{"DATABASE_URL=" + b.dsn}
	code, output := run(t, env, "migrate", "--table", "app.events")
	require.Zero(t, code, output)
	require.Contains(t, output, "created")
	code, output = run(t, env, "migrate", "--table", "app.events")
	require.Zero(t, code, output)
	require.Contains(t, output, "up to date")
	_, err = b.db.ExecContext(t.Context(), `INSERT INTO app.events (event_id, topic, payload) VALUES ('1', $1, '{}')`, topic)
	require.NoError(t, err)

	p := b.forward("--table", "app.events")
	b.waitArrived(1)
	// The record can be read before its acknowledgement has reached the process.
	counted := regexp.MustCompile(`tailrace_forwarder_events_total\{.*topic="` + topic + `"\} 1`)
	require.Eventually(t, func() bool {
		status, metrics := p.get("/metrics")
		return status == 200 && counted.MatchString(metrics) && strings.Contains(metrics, "go_goroutines")
	}, patience, tick)
	code, output = run(t, env, "status", "--table", "app.events")
	require.Zero(t, code, output)
	require.Regexp(t, `owner +\S+:`+strconv.Itoa(p.pid())+`, for`, output)
	p.signal(syscall.SIGKILL)
	p.wait()
	require.Eventually(t, func() bool {
		code, output = run(t, env, "status", "--table", "app.events")
		return code == 0 && strings.Contains(output, "nobody")
	}, patience, 100*tick, "a killed process owns nothing")
	for _, want := range []string{"app", "version", "pending", "dead", "ids"} {
		require.Contains(t, output, want)
	}
}

// TestDeadLettersGoUnderThePrefix: an event that Kafka can never take ends in the topic that was asked for.
func TestDeadLettersGoUnderThePrefix(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, "acme.graveyard", 1, nil)
	_, err := b.db.ExecContext(t.Context(), `INSERT INTO event_outbox (event_id, topic, payload, max_retries) VALUES ('1', 'no such topic!', '{}', 1)`)
	require.NoError(t, err)
	p := b.forward("--topic-prefix", "acme", "--dead-letter-topic", "graveyard")

	letters := b.broker.WaitRecords(t, "acme.graveyard", 1, patience)
	reason, _ := letters[0].Header("dead_letter_reason")
	require.NotEmpty(t, reason)
	require.Eventually(t, func() bool { return b.count(`retry_count >= max_retries`) == 1 }, patience, tick)
	p.stop()

	code, output := run(t, []string{"DATABASE_URL=" + b.dsn}, "status")
	require.Zero(t, code)
	require.Regexp(t, `dead +1`, strings.ReplaceAll(output, "\t", " "))
}

// TestWatermillEngine: the same table, rules and lock, through Watermill's own component.
func TestWatermillEngine(t *testing.T) {
	t.Parallel()
	b := setup(t)
	load := b.startLoad(2, 20)
	p := b.forward("--engine", "watermill")
	p.waitReady(200, "owner")
	standby := b.forward()
	load.release(400)
	b.waitArrived(100)
	p.stop()
	load.release(400)
	load.finish()

	require.Equal(t, tally{sent: 800, delivered: 800}, b.requireWhole())
	standby.stop()
}
