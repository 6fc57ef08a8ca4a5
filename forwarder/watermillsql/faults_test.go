package watermillsql_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	wkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/forwarder"
	"github.com/tailrace-go/tailrace/forwarder/watermillsql"
)

func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, patience, tick, what)
}

func (b *bundle) exec(query string, args ...any) {
	b.t.Helper()
	_, err := b.db.Exec(query, args...)
	require.NoError(b.t, err)
}

func TestBrokerAwayAndBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, orders, 3, nil)
	b.publish(300, 20, 4)
	f := b.forwarder()
	stop := b.run(f)
	b.waitPassed()

	b.broker.Stop()
	b.publish(300, 20, 4)
	eventually(t, "readiness tells that the broker is away", func() bool { return f.Status().Broker != nil && f.Status().Ready() != nil })
	require.Equal(t, 300, b.behind())
	b.broker.Restart(t)

	b.waitPassed()
	eventually(t, "ready again", func() bool { return f.Status().Ready() == nil })
	stop()
	require.Equal(t, tally{sent: 600, delivered: 600}, b.count(orders))
}

// TestDatabaseConnectionsLost: whichever of the connections is lost, nothing is lost, and what was delivered
// is recorded before anything is delivered again.
func TestDatabaseConnectionsLost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, orders, 3, nil)
	b.publish(400, 20, 4)
	const name = "to be cut off"
	own := b.open(func(c *pq.Config) { c.ApplicationName = name })
	stop := b.run(b.forwarder(func(c *watermillsql.Config) { c.DB, c.BatchSize, c.Window = own, 20, 50 }))
	kills := 0
	for range 40 {
		var killed int
		require.NoError(t, b.db.QueryRow(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = $1`, name).Scan(&killed))
		kills += killed
		b.publish(20, 20, 4)
	}
	require.Positive(t, kills)
	b.waitPassed()
	stop()
	c := b.count(orders)
	t.Log(kills, "connections;", c)
	require.Equal(t, tally{sent: c.sent, delivered: c.sent, twice: c.twice}, c)
}

// TestPoison: what can't be unwrapped, and what Kafka refuses, goes to the dead letters with its reason;
// its key's later messages wait for that, and the position is true behind it.
func TestPoison(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, orders, 3, map[string]string{"max.message.bytes": "20000"})
	b.broker.CreateTopic(t, "dead", 1, nil)
	large := b.message("k1")
	large.Payload = []byte(strings.Repeat("x", 30_000))
	require.NoError(t, b.inTx(orders, b.message("k0"), b.message("k1")))
	require.NoError(t, b.inTx(orders, large, b.message("k1"), b.message("k0")))
	table := b.schema.MessagesTable(b.topic)
	for i, garbage := range []string{`{"secret":"s3cr3t"}`, `["s3cr3t"]`, `{"destination_topic":"orders","uuid":"u","payload":"?s3cr3t?"}`, `{"destination_topic":7,"uuid":"s3cr3t"}`} {
		b.exec(`INSERT INTO `+table+` (uuid, payload, metadata, transaction_id) VALUES ($1, $2, '{"trace":"abc"}', pg_current_xact_id())`, fmt.Sprintf("garbage-%d", i), garbage)
	}
	reserved := b.message("k2")
	reserved.Metadata.Set(wkafka.UUIDHeaderKey, "forged")
	require.NoError(t, b.inTx(orders, reserved, b.message("k2")))

	f := b.forwarder()
	stop := b.run(f)
	b.waitPassed()
	stop()

	byKey := map[string]string{}
	for _, record := range b.broker.Records(t, orders) {
		byKey[string(record.Key)] += string(record.Value) + " "
	}
	require.Equal(t, map[string]string{"k0": "0 1 ", "k1": "1 2 ", "k2": "1 "}, byKey)
	letters := map[string]deadletter.Letter{}
	for _, record := range b.broker.Records(t, "dead") {
		l := letter(record)
		require.NotContains(t, l.Reason, "s3cr3t", "a reason carries no payload")
		require.Equal(t, deadletter.SourceWatermill, l.Source)
		table, _ := record.Header(deadletter.HeaderTable)
		require.Equal(t, `"watermill_events_to_forward"`, table)
		require.False(t, l.LastFailure.IsZero())
		letters[l.EventID] = l
	}
	require.Len(t, letters, 6)
	require.Contains(t, letters["garbage-0"].Reason, "no envelope")
	require.Contains(t, letters["garbage-0"].Reason, "destination_topic")
	require.JSONEq(t, `{"secret":"s3cr3t"}`, string(letters["garbage-0"].Value))
	require.Contains(t, letters["garbage-2"].Reason, "base64")
	require.Empty(t, letters["garbage-0"].Topic)
	require.Equal(t, 1, letters["garbage-0"].Attempts)
	require.Equal(t, int64(6), letters["garbage-0"].Row)
	for i := range 4 {
		trace := ""
		for _, h := range letters[fmt.Sprintf("garbage-%d", i)].Headers {
			if h.Key == "trace" {
				trace = string(h.Value)
			}
		}
		require.Equal(t, "abc", trace, "the row's own metadata")
	}
	dead := letters["k1-0"]
	require.Equal(t, orders, dead.Topic)
	require.Equal(t, "k1", string(dead.Key))
	require.Equal(t, 3, dead.Attempts)
	require.Len(t, dead.Value, 30_000)
	record, err := dead.Original()
	require.NoError(t, err)
	require.Equal(t, orders, record.Topic)
	require.Contains(t, letters["k2-0"].Reason, "_watermill_message_uuid")

	w := b.watermill(1 << 30)
	require.NoError(t, b.inTx(orders, b.message("k0")))
	w.waitPublished(1)
	w.stop()
	require.Equal(t, int64(1), w.published.Load(), "Watermill's forwarder goes on behind them")
}

func letter(record bustest.Record) deadletter.Letter {
	r := deadletter.Record{Key: record.Key, Value: record.Value}
	for _, h := range record.Headers {
		r.Headers = append(r.Headers, deliveryHeader(h))
	}
	return deadletter.Read(r)
}

// TestRequeuedToItsSiblings: a dead letter goes back to the partition that has the rest of its key, by a sender
// that puts keys elsewhere, as `tailrace deadletters requeue` has it.
func TestRequeuedToItsSiblings(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, orders, 7, nil)
	b.broker.CreateTopic(t, "dead", 2, nil)
	const keys = 30
	var messages []*message.Message
	for i := range 3 * keys {
		msg := b.message(fmt.Sprintf("k%d", i%keys))
		if i/keys == 1 {
			msg.Metadata.Set(wkafka.UUIDHeaderKey, "forged")
		}
		messages = append(messages, msg)
	}
	require.NoError(t, b.inTx(orders, messages...))
	stop := b.run(b.forwarder())
	b.waitPassed()
	stop()
	require.Len(t, b.broker.Records(t, orders), 2*keys)

	cluster := kafka.Config{Brokers: b.broker.Brokers()}
	mailbox, err := kafka.NewMailbox(kafka.MailboxConfig{Config: cluster, Topic: "dead"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, mailbox.Close()) })
	sender, err := kafka.NewSender(kafka.SenderConfig{Config: cluster})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sender.Close()) })
	report, err := deadletter.Requeue(t.Context(), deadletter.Config{Mailbox: mailbox, Sender: sender})
	require.NoError(t, err)
	require.Equal(t, keys, report.Outcomes[deadletter.Requeued])

	differ, at, values := 0, map[string]int32{}, map[string]string{}
	for _, record := range b.broker.Records(t, orders) {
		key := string(record.Key)
		if values[key] == "" {
			at[key] = record.Partition
		}
		values[key] += string(record.Value)
		require.Equal(t, at[key], record.Partition, "%s has left its partition", record.Key)
		if record.Partition != kafka.PartitionFor(record.Key, 7) {
			differ++
		}
	}
	require.Len(t, values, keys)
	for key, all := range values {
		require.Equal(t, "021", all, "%s: the dead one comes back behind the others", key)
	}
	require.Positive(t, differ, "murmur2 would do as well")
}

// TestStopSpendsTheAttempts: what the position could not pass would be delivered twice, so a stopping
// forwarder does not wait for the next attempt's time.
func TestStopSpendsTheAttempts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, orders, 3, map[string]string{"max.message.bytes": "20000"})
	b.broker.CreateTopic(t, "dead", 1, nil)
	large := b.message("k1")
	large.Payload = []byte(strings.Repeat("x", 30_000))
	require.NoError(t, b.inTx(orders, large, b.message("k1"), b.message("k0")))
	f := b.forwarder(func(c *watermillsql.Config) { c.RetryMin, c.RetryMax = time.Hour, time.Hour })
	stop := b.run(f)
	eventually(t, "it waits for its next attempt", func() bool { return f.Status().Waiting == 2 })
	require.Equal(t, 3, b.behind())
	stop()
	require.Zero(t, b.behind())
	require.Len(t, b.broker.Records(t, "dead"), 1)
	require.Len(t, b.broker.Records(t, orders), 2)
}

// TestDeadLetterTopicMissing: nothing is passed, and readiness says why; once there, all goes on.
func TestDeadLetterTopicMissing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, orders, 3, map[string]string{"max.message.bytes": "20000"})
	large := b.message("k1")
	large.Payload = []byte(strings.Repeat("x", 30_000))
	require.NoError(t, b.inTx(orders, large, b.message("k1"), b.message("k0")))
	f := b.forwarder()
	stop := b.run(f)
	eventually(t, "readiness names the dead-letter topic", func() bool {
		err := f.Status().Ready()
		return err != nil && strings.Contains(err.Error(), "the dead-letter topic dead takes no copy")
	})
	require.Equal(t, 3, b.behind())
	b.broker.CreateTopic(t, "dead", 1, map[string]string{"max.message.bytes": "20000"})
	b.waitPassed()
	eventually(t, "ready again", func() bool { return f.Status().Ready() == nil })
	stop()
	records := b.broker.Records(t, "dead")
	require.Len(t, records, 1)
	require.Empty(t, records[0].Value, "the copy is too large itself")
	require.Equal(t, 30_000, letter(records[0]).Omitted)
}

// TestUnknownTopic: the position waits at it, readiness says so, and a stop meanwhile says what comes twice.
func TestUnknownTopic(t *testing.T) {
	t.Parallel()
	for name, break_ := range map[string]bool{"unknown": false, "forbidden": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.broker.CreateTopic(t, orders, 3, nil)
			if break_ {
				b.broker.CreateTopic(t, "later", 3, nil)
				b.broker.Deny("later")
			}
			messages := func(n int) (all []*message.Message) {
				for i := range n {
					all = append(all, b.message(fmt.Sprintf("k%d", i%5)))
				}
				return all
			}
			require.NoError(t, b.inTx(orders, messages(50)...))
			require.NoError(t, b.inTx("later", messages(50)...))
			require.NoError(t, b.inTx(orders, messages(50)...))
			f := b.forwarder()
			stop := b.run(f)
			eventually(t, "readiness names the topic", func() bool {
				err := f.Status().Ready()
				return err != nil && strings.Contains(err.Error(), "topic later can't be written to") && f.Status().Paused["later"] != nil
			})
			eventually(t, "what stands before it is passed", func() bool { return b.behind() == 100 })
			require.NoError(t, b.inTx(orders, messages(50)...))
			stop()
			require.Equal(t, 150, b.behind())

			f = b.forwarder()
			stop = b.run(f)
			eventually(t, "it is there again", func() bool { return f.Status().Paused["later"] != nil })
			if break_ {
				b.broker.Allow("later")
			} else {
				b.broker.CreateTopic(t, "later", 3, nil)
			}
			b.waitPassed()
			eventually(t, "ready again", func() bool { return f.Status().Ready() == nil })
			stop()
			require.Equal(t, forwarder.Stopped, f.Status().State)
			c := b.count(orders)
			t.Log(c)
			require.Equal(t, tally{sent: 150, delivered: 150, twice: c.twice}, c)
			require.LessOrEqual(t, c.twice, 100, "at most what was read behind it")
			require.Equal(t, tally{sent: 50, delivered: 50}, b.count("later"))
		})
	}
}
