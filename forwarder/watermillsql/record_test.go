package watermillsql_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/forwarder/watermillsql"
)

// TestRecordsAreTheSame: of the same rows, Watermill's forwarder with watermill-kafka's publisher makes the
// same records as ours, in the same partitions, but for the order of the headers, of which it has none.
func TestRecordsAreTheSame(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, orders, 7, nil)
	messages := []*message.Message{
		message.NewMessage("no metadata", []byte(`{"a":1}`)),
		message.NewMessage("no payload", nil),
		message.NewMessage("empty payload", []byte{}),
		message.NewMessage("", []byte("no uuid")),
		message.NewMessage("binary", []byte{0, 1, 2, 0xff, 0xfe}),
		message.NewMessage("uuid \" \\ é \u2028 <>&", []byte(`"<>&"`)),
	}
	for i, msg := range messages {
		msg.Metadata.Set(keyField, "key "+strings.Repeat("x", i))
		msg.Metadata.Set("record_key", "a header like any other")
	}
	odd := message.NewMessage("odd metadata", []byte("x"))
	odd.Metadata = message.Metadata{keyField: "ключ", "": "no name", "empty": "", "\u0000\n": "<&>\u2028\"\\", "_watermill_message_uuid": ""}
	messages = append(messages, odd)
	messages[0].Metadata = message.Metadata{keyField: "k"}
	require.NoError(t, b.inTx(orders, messages...))

	w := b.watermill(1 << 30)
	b.waitPassed()
	w.stop()
	theirs := b.broker.Records(t, orders)
	require.Len(t, theirs, len(messages))
	b.exec(`UPDATE watermill_offsets_events_to_forward SET offset_acked = 0, last_processed_transaction_id = '0'`)
	stop := b.run(b.forwarder())
	b.waitPassed()
	stop()
	all := b.broker.Records(t, orders)
	require.Len(t, all, 2*len(messages))

	for partition := range int32(7) {
		of := func(records []bustest.Record) (plain []plainRecord) {
			for _, record := range records {
				if record.Partition == partition {
					plain = append(plain, plainly(record))
				}
			}
			return plain
		}
		want, have := of(theirs), of(all)
		require.Equal(t, want, have[:len(want)])
		require.Equal(t, want, have[len(want):], "partition %d", partition)
	}
}

// plainRecord is all of a record that a consumer sees, with nil and empty apart.
type plainRecord struct {
	key, value       string
	noKey, tombstone bool
	headers          []string
}

func plainly(record bustest.Record) plainRecord {
	p := plainRecord{key: string(record.Key), value: string(record.Value), noKey: record.Key == nil, tombstone: record.Value == nil}
	for _, header := range record.Headers[1:] {
		p.headers = append(p.headers, header.Key+"="+string(header.Value))
	}
	slices.Sort(p.headers)
	p.headers = append([]string{record.Headers[0].Key + "=" + string(record.Headers[0].Value)}, p.headers...)
	return p
}

// TestWithoutKeyMetadata no record has a key, and a message without the field has none either.
func TestWithoutKeyMetadata(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, orders, 2, nil)
	require.NoError(t, b.inTx(orders, b.message("k"), message.NewMessage("bare", nil)))
	stop := b.run(b.forwarder(func(c *watermillsql.Config) { c.KeyMetadata = "" }))
	b.waitPassed()
	stop()
	for _, record := range b.broker.Records(t, orders) {
		require.Nil(t, record.Key)
	}
	b.exec(`UPDATE watermill_offsets_events_to_forward SET offset_acked = 0, last_processed_transaction_id = '0'`)
	stop = b.run(b.forwarder())
	b.waitPassed()
	stop()
	keys := 0
	for _, record := range b.broker.Records(t, orders) {
		if record.Key != nil {
			keys++
		}
	}
	require.Equal(t, 1, keys)
}

// TestLargeMessages are read a few at a time: the window is bounded in bytes, too.
func TestLargeMessages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, orders, 3, nil)
	for range 10 {
		var messages []*message.Message
		for range 5 {
			msg := b.message("k1")
			msg.Metadata.Set("pad", strings.Repeat("x", 50_000))
			messages = append(messages, msg)
		}
		require.NoError(t, b.inTx(orders, messages...))
	}
	stop := b.run(b.forwarder(func(c *watermillsql.Config) { c.WindowBytes = 100_000 }))
	b.waitPassed()
	stop()
	require.Equal(t, tally{sent: 50, delivered: 50}, b.count(orders))
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, orders, 3, map[string]string{"max.message.bytes": "20000"})
	b.broker.CreateTopic(t, "dead", 1, nil)
	large := b.message("k1")
	large.Payload = []byte(strings.Repeat("x", 30_000))
	require.NoError(t, b.inTx(orders, large, b.message("k1"), b.message("k0")))
	registry := prometheus.NewRegistry()
	f := b.forwarder(func(c *watermillsql.Config) { c.Registerer = registry })
	stop := b.run(f)
	b.waitPassed()
	stop()
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP tailrace_forwarder_dead_events_total Events that spent their attempts and went to the dead-letter topic, by destination topic.
# TYPE tailrace_forwarder_dead_events_total counter
tailrace_forwarder_dead_events_total{outbox="\"watermill_events_to_forward\"",topic="orders"} 1
# HELP tailrace_forwarder_events_total Events that the broker acknowledged, by destination topic.
# TYPE tailrace_forwarder_events_total counter
tailrace_forwarder_events_total{outbox="\"watermill_events_to_forward\"",topic="orders"} 2
# HELP tailrace_forwarder_retries_total Attempts counted against events, by destination topic.
# TYPE tailrace_forwarder_retries_total counter
tailrace_forwarder_retries_total{outbox="\"watermill_events_to_forward\"",topic="orders"} 3
`), "tailrace_forwarder_events_total", "tailrace_forwarder_dead_events_total", "tailrace_forwarder_retries_total"))
	_, err := watermillsql.New(watermillsql.Config{DB: b.db, Sender: b.sender, Topic: b.topic, Registerer: registry})
	require.ErrorContains(t, err, "Registerer of its own")
	families, err := registry.Gather()
	require.NoError(t, err)
	var known []string
	for _, family := range families {
		known = append(known, family.GetName())
	}
	require.Subset(t, known, []string{"tailrace_forwarder_pending_rows", "tailrace_forwarder_oldest_pending_age_seconds", "tailrace_forwarder_in_flight_rows", "tailrace_forwarder_owner"})
}

// TestBacklogIsMeasured: what waits is counted, and its age told, while it can't be delivered.
func TestBacklogIsMeasured(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.inTx("missing", b.message("k1"), b.message("k0")))
	b.exec(`UPDATE watermill_events_to_forward SET created_at = CURRENT_TIMESTAMP - interval '1 hour'`)
	registry := prometheus.NewRegistry()
	stop := b.run(b.forwarder(func(c *watermillsql.Config) { c.Registerer = registry }))
	value := func(name string) (v float64) {
		families, err := registry.Gather()
		require.NoError(t, err)
		for _, family := range families {
			if family.GetName() == name {
				v = family.GetMetric()[0].GetGauge().GetValue()
			}
		}
		return v
	}
	eventually(t, "two wait", func() bool { return value("tailrace_forwarder_pending_rows") == 2 })
	require.InDelta(t, 3600, value("tailrace_forwarder_oldest_pending_age_seconds"), 300)
	stop()
	require.Zero(t, value("tailrace_forwarder_pending_rows"))
}
