package main_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/outbox"
)

const letterTopic = "marty.dead.letter.queue"

// letterBox is a broker with dead letters of consumers.
type letterBox struct {
	t      testing.TB
	broker *bustest.Broker
	env    []string
}

func newLetterBox(t testing.TB) *letterBox {
	t.Helper()
	b := &letterBox{t: t, broker: bustest.Kafka(t)}
	b.env = []string{"KAFKA_BROKERS=" + strings.Join(b.broker.Brokers(), ",")}
	b.broker.CreateTopic(t, topic, 6, nil)
	b.broker.CreateTopic(t, letterTopic, 3, nil)
	return b
}

var died = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// die sends letters numbered from 0. Every third is of the handler "audit", the others of "welcome".
func (b *letterBox) die(n int, change ...func(int, *kgo.Record)) {
	b.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.broker.Brokers()...), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	require.NoError(b.t, err)
	defer client.Close()
	var records []*kgo.Record
	for i := range n {
		handler := "welcome"
		if i%3 == 2 {
			handler = "audit"
		}
		record := &kgo.Record{Topic: letterTopic, Key: fmt.Appendf(nil, "key-%d", i%20), Value: fmt.Appendf(nil, `{"secret":%d}`, i)}
		for _, header := range [][2]string{
			{delivery.UUIDHeader, fmt.Sprintf("event-%05d", i)},
			{"ce_type", "created"},
			{deadletter.HeaderSource, deadletter.SourceConsumer},
			{deadletter.HeaderReason, "no such mailbox"},
			{deadletter.HeaderTopic, topic},
			{deadletter.HeaderPartition, "1"},
			{deadletter.HeaderOffset, strconv.Itoa(i)},
			{deadletter.HeaderHandler, handler},
			{deadletter.HeaderAttempts, "9"},
			{deadletter.HeaderLastFailure, deadletter.Time(died.Add(time.Duration(i) * time.Minute))},
		} {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: header[0], Value: []byte(header[1])})
		}
		for _, f := range change {
			f(i, record)
		}
		records = append(records, record)
	}
	require.NoError(b.t, client.ProduceSync(within(b.t, patience), records...).FirstErr())
}

func (b *letterBox) run(args ...string) (int, string) {
	b.t.Helper()
	return run(b.t, b.env, append([]string{"deadletters"}, args...)...)
}

// must requires exit code 0 and the words in what is printed.
func (b *letterBox) must(words string, args ...string) string {
	b.t.Helper()
	code, output := b.run(args...)
	require.Zero(b.t, code, output)
	require.Contains(b.t, output, words)
	return output
}

// requireArrived requires the events 0 to n-1 and returns how many came more than once.
func (b *letterBox) requireArrived(n int) (duplicates int) {
	b.t.Helper()
	seen := map[string]bool{}
	for _, record := range b.broker.Records(b.t, topic) {
		id, _ := record.Header(delivery.UUIDHeader)
		if seen[id] {
			duplicates++
		}
		seen[id] = true
	}
	require.Len(b.t, seen, n)
	return duplicates
}

// TestDeadLettersRequeue: some by a filter, then the rest, each once.
func TestDeadLettersRequeue(t *testing.T) {
	t.Parallel()
	b := newLetterBox(t)
	b.must("no dead letters", "list")
	b.must("nothing to do", "requeue", "--all")
	b.die(30)

	output := b.must("dry run: requeued 10 (letters read: 30, chosen: 10)", "requeue", "--handler", "audit", "--dry-run")
	require.Equal(t, 10, strings.Count(output, "of event event-"))
	require.Empty(t, b.broker.Records(t, topic))
	b.must("requeued 10 (letters read: 30, chosen: 10)", "requeue", "--handler", "audit", "--reason", "MAILBOX")
	b.must("requeued 1 (", "requeue", "--event-id", "event-00000")
	b.must("requeued 3 (", "requeue", "--until", "2026-03-01T12:05:00Z")
	b.must("nothing to do", "requeue", "--since", "2h")
	b.must("discarded 1 (", "discard", "--limit", "1")
	b.must("requeued 15 (letters read: 15, chosen: 15)", "requeue", "--all")
	b.must("nothing to do", "requeue", "--all")
	require.Zero(t, b.requireArrived(29))
	require.Equal(t, 30, strings.Count(b.must("", "list", "--settled"), "no such mailbox"))
	b.must("requeued 30 (", "requeue", "--all", "--group", "another")
}

// TestDeadLettersList shows what an operator needs, and no payload unless it is asked for.
func TestDeadLettersList(t *testing.T) {
	t.Parallel()
	b := newLetterBox(t)
	b.die(3, func(i int, record *kgo.Record) {
		if i == 1 {
			record.Headers = append(record.Headers,
				kgo.RecordHeader{Key: deadletter.HeaderReason, Value: []byte("bad \x1b[2J screen\nand line")},
				kgo.RecordHeader{Key: deadletter.HeaderRequeues, Value: []byte("4")})
			record.Value = []byte("no json \x1b[2J")
		}
	})
	table := b.must("2026-03-01T12:00:00Z", "list")
	lines := strings.Split(strings.TrimSpace(table), "\n")
	require.Len(t, lines, 4, "one line a letter, and a head")
	require.Equal(t, []string{"DIED", "LETTER", "SOURCE", "TOPIC", "KEY", "EVENT", "HANDLER", "ATTEMPTS", "REQUEUES", "REASON"}, strings.Fields(lines[0]))
	for i, line := range lines[1:] { // the oldest first, whatever the partition
		require.Contains(t, line, fmt.Sprintf("key-%d", i))
		require.Contains(t, line, fmt.Sprintf("event-%05d", i))
	}
	require.Contains(t, lines[2], "bad ·[2J screen·and line")
	require.Contains(t, b.must("event-00001", "list", "--event-id", "event-00001"), "  4  ")
	require.Len(t, strings.Split(strings.TrimSpace(b.must("event-00000", "list", "--limit", "1")), "\n"), 2)

	show := b.must("dead_letter_offset", "show", "--event-id", "event-00002")
	require.Contains(t, show, "ce_type")
	with := b.must(`{"secret":2}`, "show", "--event-id", "event-00002", "--payload")
	require.Contains(t, b.must("no json ·[2J", "show", "--event-id", "event-00001", "--payload"), "payload bytes")

	lines = strings.Split(strings.TrimSpace(b.must("{", "list", "--json")), "\n")
	require.Len(t, lines, 3)
	var letter struct {
		EventID      string    `json:"event_id"`
		Topic        string    `json:"topic"`
		Key          string    `json:"key"`
		Handler      string    `json:"handler"`
		Attempts     int       `json:"attempts"`
		Offset       int       `json:"offset"`
		Reason       string    `json:"reason"`
		LastFailure  time.Time `json:"last_failure"`
		PayloadBytes int       `json:"payload_bytes"`
	}
	require.NoError(t, json.Unmarshal([]byte(lines[2]), &letter))
	require.Equal(t, "event-00002", letter.EventID)
	require.Equal(t, topic, letter.Topic)
	require.Equal(t, "key-2", letter.Key)
	require.Equal(t, "audit", letter.Handler)
	require.Equal(t, 9, letter.Attempts)
	require.Equal(t, 2, letter.Offset)
	require.Equal(t, died.Add(2*time.Minute), letter.LastFailure)
	require.Equal(t, 12, letter.PayloadBytes)
	for _, output := range append(lines, table, show) {
		require.NotContains(t, output, "secret")
		require.NotContains(t, output, "\x1b")
	}
	require.NotEmpty(t, with)
	require.Contains(t, b.must(`"payload_base64"`, "show", "--json", "--payload"), `"payload":{"secret":2}`)
}

// TestDeadLettersKilledInTheMiddle: a run is killed again and again; the next one goes on.
func TestDeadLettersKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	kills, n := often(3, 10), often(4000, 20_000)
	b := newLetterBox(t)
	b.die(n)
	b.broker.ProduceLatency(10 * time.Millisecond)
	for i := range kills {
		p := start(t, b.env, "deadletters", "requeue", "--all")
		// A request carries at most 100 letters, so the kills come before the end.
		target := b.broker.ProduceRequests() + int64(n/100/(kills+2))
		require.Eventually(t, func() bool { return b.broker.ProduceRequests() >= target }, patience, tick)
		p.signal(syscall.SIGKILL)
		require.Equal(t, -1, p.wait(), "killed after its end")
		t.Logf("kill %d: %d of %d letters are requeued", i+1, len(b.broker.Records(t, topic)), n)
	}
	b.must("requeued", "requeue", "--all")
	duplicates := b.requireArrived(n)
	require.LessOrEqual(t, duplicates, 100*kills, "no more than what is on its way at once")
	t.Logf("%d letters, %d kills, %d requeued twice", n, kills, duplicates)
	b.must("no dead letters", "list")
}

// TestDeadLettersStopped: SIGTERM finishes what is on its way, and nothing is sent twice.
func TestDeadLettersStopped(t *testing.T) {
	t.Parallel()
	b := newLetterBox(t)
	const n = 3000
	b.die(n)
	b.broker.ProduceLatency(50 * time.Millisecond)
	p := start(t, b.env, "deadletters", "requeue", "--all")
	// A quarter of the 30 requests that 100 letters each make.
	target := b.broker.ProduceRequests() + 7
	require.Eventually(t, func() bool { return b.broker.ProduceRequests() >= target }, patience, tick)
	p.signal(syscall.SIGTERM)
	require.Equal(t, 1, p.wait())
	require.Contains(t, p.log.String(), "interrupted")
	require.Less(t, len(b.broker.Records(t, topic)), n)
	b.broker.ProduceLatency(0)
	b.must("requeued", "requeue", "--all")
	require.Zero(t, b.requireArrived(n))
}

// TestDeadLettersOfAnOutbox are requeued from their row, by the forwarder, and not from the copy.
func TestDeadLettersOfAnOutbox(t *testing.T) {
	t.Parallel()
	for kind, table := range map[string]outbox.MigrateConfig{
		"plain":       {},
		"partitioned": {Partitioned: true, PartitionRows: outbox.MinPartitionRows},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			db, dsn := bustest.Postgres(t)
			deadLettersOfAnOutbox(t, setupOn(t, db, dsn, table), table.Partitioned || !long())
		})
	}
}

// deadLettersOfAnOutbox has a row that is alive again found by the process that runs, which takes some seconds, or
// by a new one, which looks at everything.
func deadLettersOfAnOutbox(t *testing.T, b *bundle, restarts bool) {
	t.Helper()
	b.broker.CreateTopic(t, letterTopic, 1, nil)
	_, err := b.db.ExecContext(t.Context(), `INSERT INTO event_outbox (event_id, topic, key, payload, max_retries, headers)
		SELECT 'event-' || i, $1, 'ada', '{}', 1, CASE WHEN i = 2 THEN '{"n": 1}'::json END FROM generate_series(1, 3) i`, topic)
	require.NoError(t, err)
	forward := b.forward()
	letter := b.broker.WaitRecords(t, letterTopic, 1, patience)[0]
	require.Equal(t, "ada", string(letter.Key))
	b.waitArrived(2)
	b.waitSettled()

	env := []string{"KAFKA_BROKERS=" + strings.Join(b.broker.Brokers(), ",")}
	_, output := run(t, env, "deadletters", "list")
	require.Contains(t, output, "headers column", "with the reason")
	code, output := run(t, env, "deadletters", "requeue", "--all")
	require.Zero(t, code)
	require.Contains(t, output, "left 1 (")
	require.Contains(t, output, "outbox's database")
	require.Equal(t, 1, b.count(`retry_count >= max_retries AND processed_at IS NULL`), "still dead")

	_, err = b.db.ExecContext(t.Context(), `UPDATE event_outbox SET headers = '{"n": "1"}' WHERE event_id = 'event-2'`)
	require.NoError(t, err)
	env = append(env, "DATABASE_URL="+b.dsn)
	if restarts {
		forward.stop()
	}
	code, output = run(t, env, "deadletters", "requeue", "--source", "outbox")
	require.Zero(t, code, output)
	require.Contains(t, output, "revived 1 (")
	if restarts {
		forward = b.forward()
	}
	b.waitSettledRows(3)
	// The letters of a row that is alive are settled too, as after a run that was killed before it noted.
	code, output = run(t, env, "deadletters", "requeue", "--all", "--group", "another")
	require.Zero(t, code, output)
	require.Contains(t, output, "delivered 1 (")
	_, output = run(t, env, "deadletters", "requeue", "--all")
	require.Contains(t, output, "nothing to do")
	forward.stop()
	require.Equal(t, 3, b.arrived(), "each once")
}

// TestDeadLettersThatCannotBeSent stay, and the exit code says so.
func TestDeadLettersThatCannotBeSent(t *testing.T) {
	t.Parallel()
	b := newLetterBox(t)
	b.die(3, func(i int, record *kgo.Record) {
		if i == 1 {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: deadletter.HeaderTopic, Value: []byte("marty.gone")})
		}
	})
	code, output := b.run("requeue", "--all")
	require.Equal(t, 1, code)
	require.Contains(t, output, "failed 1, requeued 2")
	require.Contains(t, output, "of event event-00001, to marty.gone: ")
	require.Contains(t, output, "run again")
	b.broker.CreateTopic(t, "marty.gone", 1, nil)
	b.must("requeued 1 (", "requeue", "--all")
}

func TestDeadLettersUsage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"nothing chosen": {[]string{"requeue"}, []string{"--all", "--event-id"}},
		"nor discarded":  {[]string{"discard", "--dry-run"}, []string{"--all"}},
		"all mistakes":   {[]string{"requeue", "--since", "yesterday", "--limit", "-1", "--max-requeues", "0", "--source", "kafka", "--kafka-brokers", "x:y", "--table", "a.b.c"}, []string{"--since", "--limit", "--max-requeues", "--source", "--kafka-brokers", "--table"}},
		"an argument":    {[]string{"list", "all"}, []string{"all"}},
		"no such verb":   {[]string{"resend"}, []string{"resend", "deadletters --help"}},
		"no such flag":   {[]string{"list", "--max-requeues", "1"}, []string{"--max-requeues", "list --help"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, output := run(t, nil, append([]string{"deadletters"}, c.args...)...)
			require.Equal(t, 2, code, output)
			for _, want := range c.want {
				require.Contains(t, output, want)
			}
		})
	}
	code, output := run(t, []string{"KAFKA_BROKERS=" + strings.Join(bustest.Kafka(t).Brokers(), ",")}, "deadletters", "list")
	require.Equal(t, 1, code)
	require.Contains(t, output, letterTopic, "which is missing")

	_, output = run(t, nil, "deadletters", "--help")
	for _, want := range []string{"list", "show", "requeue", "discard"} {
		require.Contains(t, output, want)
	}
	_, output = run(t, nil, "deadletters", "requeue", "--help")
	text := strings.Join(strings.Fields(output), " ")
	for _, want := range []string{"[KAFKA_BROKERS]", "[DATABASE_URL]", "[EVENT_DEAD_LETTER_TOPIC]", "[TAILRACE_DEAD_LETTERS_GROUP] (default tailrace-dead-letters)", "(default 5)", "--dry-run", "2h"} {
		require.Contains(t, text, want)
	}
	_, output = run(t, nil, "--help")
	require.Contains(t, output, "deadletters")
}
