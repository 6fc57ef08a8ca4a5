package main_test

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	wkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	wforwarder "github.com/ThreeDotsLabs/watermill/components/forwarder"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
)

const (
	watermillTopic = "Events-to-forward"
	watermillGroup = "the forwarders"
	keyMetadata    = "user"
)

// publishWatermill writes n messages over some keys as Watermill's own publisher does, each key's by one
// of four writers, and numbered from the one given.
func (b *bundle) publishWatermill(n, keys int, from ...int) (ids map[string]bool) {
	b.t.Helper()
	const writers = 4
	inner, err := wsql.NewPublisher(b.db, wsql.PublisherConfig{SchemaAdapter: wsql.DefaultPostgreSQLSchema{}, AutoInitializeSchema: true}, watermill.NopLogger{})
	require.NoError(b.t, err)
	publisher := wforwarder.NewPublisher(inner, wforwarder.PublisherConfig{ForwarderTopic: watermillTopic})
	ids = map[string]bool{}
	messages := make([][]*message.Message, writers)
	next := make([]int, keys)
	for key := range next {
		next[key] = append(from, 0)[0]
	}
	for i := range n {
		key := i % keys
		msg := message.NewMessage(fmt.Sprintf("k%d-%d", key, next[key]), fmt.Appendf(nil, "%d", next[key]))
		msg.Metadata.Set(keyMetadata, fmt.Sprintf("k%d", key))
		next[key]++
		ids[msg.UUID] = true
		messages[key%writers] = append(messages[key%writers], msg)
	}
	// The first makes the table.
	require.NoError(b.t, publisher.Publish(topic, messages[0][0]))
	messages[0] = messages[0][1:]
	var writing sync.WaitGroup
	failed := make(chan error, writers)
	for _, own := range messages {
		writing.Go(func() {
			for i := 0; i < len(own); i += 5 {
				if err := publisher.Publish(topic, own[i:min(i+5, len(own))]...); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	writing.Wait()
	require.Empty(b.t, failed)
	return ids
}

// behind is how many rows Watermill's position has not passed.
func (b *bundle) behind() (n int) {
	b.t.Helper()
	require.NoError(b.t, b.db.QueryRowContext(b.t.Context(), `SELECT count(*) FROM "watermill_Events-to-forward" m, "watermill_offsets_Events-to-forward" o
		WHERE o.consumer_group = $1 AND (m.transaction_id, m."offset") > (o.last_processed_transaction_id, o.offset_acked)`, watermillGroup).Scan(&n))
	return n
}

// TestForwardsWatermillsTables: the process takes the place of Watermill's forwarder, is killed in the
// middle, and that one goes on from there; then the process does again, and is stopped.
func TestForwardsWatermillsTables(t *testing.T) {
	t.Parallel()
	b := setup(t)
	sent := b.publishWatermill(2000, 50)
	// Its first batches pass, the others wait until it is dead.
	var batches atomic.Int64
	dead := make(chan struct{})
	b.broker.FailProduce(func(string, int32) bustest.Action {
		if batches.Add(1) > 6 {
			<-dead
		}
		return bustest.Pass
	})
	flags := []string{
		"--watermill-topic", watermillTopic, "--consumer-group", watermillGroup, "--watermill-key-metadata", keyMetadata,
		"--window", "200", "--batch-size", "100",
	}
	p := b.forward(flags...)
	b.waitArrived(1)
	require.Eventually(t, func() bool { return b.behind() < 2000 }, patience, tick)
	p.signal(syscall.SIGKILL)
	require.Equal(t, -1, p.wait())
	left := b.behind()
	require.Positive(t, left, "it was killed after its work")
	close(dead)
	b.broker.FailProduce(nil)
	status := []string{"status", "--watermill-topic", watermillTopic, "--consumer-group", watermillGroup}
	code, output := run(t, []string{"DATABASE_URL=" + b.dsn}, status...)
	require.Zero(t, code, output)
	require.Regexp(t, `(?m)^behind +1\d\d\d, the oldest for`, output)
	_, output = run(t, []string{"DATABASE_URL=" + b.dsn}, append(status, "--json")...)
	require.Regexp(t, `^\{"messages":.*"consumer_group":"`+watermillGroup+`","started":true,.*"behind":1\d\d\d,"oldest_behind_age_seconds":[0-9.]+\}\n$`, output)
	b.watermillForwards()
	_, output = run(t, []string{"DATABASE_URL=" + b.dsn}, status...)
	require.Regexp(t, `(?m)^behind +0$`, output)
	_, output = run(t, []string{"DATABASE_URL=" + b.dsn}, append(status, "--consumer-group", "nobody's")...)
	require.Regexp(t, `(?m)^position +none`, output)
	require.Regexp(t, `(?m)^behind +2000,`, output)
	got := reckon(t, maps.Clone(sent), b.broker.Records(t, topic))
	t.Logf("killed with %d of 2000 left: %v", left, got)
	require.Equal(t, tally{sent: 2000, delivered: 2000, duplicated: got.duplicated}, got)
	require.LessOrEqual(t, got.duplicated, 200, "no more than the window")

	more := b.publishWatermill(2000, 50, 2000/50)
	p = b.forward(flags...)
	p.waitReady(200, "owner")
	require.Eventually(t, func() bool { return b.behind() == 0 }, patience, tick)
	_, metrics := p.get("/metrics")
	require.Contains(t, metrics, `tailrace_forwarder_events_total{outbox="\"watermill_Events-to-forward\"",topic="marty.orders"} 2000`)
	p.stop()
	maps.Copy(sent, more)
	again := reckon(t, sent, b.broker.Records(t, topic))
	require.Equal(t, tally{sent: 4000, delivered: 4000, duplicated: got.duplicated}, again, "a clean start and stop add none")
}

// watermillForwards runs Watermill's own forwarder until nothing is behind its position.
func (b *bundle) watermillForwards() {
	b.t.Helper()
	logger := watermill.NopLogger{}
	subscriber, err := wsql.NewSubscriber(b.db, wsql.SubscriberConfig{
		ConsumerGroup: watermillGroup, SchemaAdapter: wsql.DefaultPostgreSQLSchema{}, OffsetsAdapter: wsql.DefaultPostgreSQLOffsetsAdapter{},
		PollInterval: 10 * time.Millisecond, RetryInterval: 10 * time.Millisecond,
	}, logger)
	require.NoError(b.t, err)
	config := wkafka.DefaultSaramaSyncPublisherConfig()
	config.Producer.RequiredAcks = sarama.WaitForAll
	out, err := wkafka.NewPublisher(wkafka.PublisherConfig{
		Brokers: b.broker.Brokers(), OverwriteSaramaConfig: config,
		Marshaler: wkafka.NewWithPartitioningMarshaler(func(_ string, msg *message.Message) (string, error) { return msg.Metadata.Get(keyMetadata), nil }),
	}, logger)
	require.NoError(b.t, err)
	f, err := wforwarder.NewForwarder(subscriber, out, logger, wforwarder.Config{ForwarderTopic: watermillTopic})
	require.NoError(b.t, err)
	ended := make(chan error, 1)
	go func() { ended <- f.Run(b.t.Context()) }()
	require.Eventually(b.t, func() bool { return b.behind() == 0 }, patience, tick)
	<-f.Running()
	require.NoError(b.t, f.Close())
	require.NoError(b.t, <-ended)
	require.NoError(b.t, out.Close())
}

// TestWatermillFlags: flags that do not go together, and tables that are not there, are told at once.
func TestWatermillFlags(t *testing.T) {
	t.Parallel()
	b := setup(t)
	env := []string{"DATABASE_URL=" + b.dsn, "TAILRACE_HTTP_ADDR=off"}
	code, output := run(t, env, "forward", "--consumer-group", "g", "--watermill-attempts", "5")
	require.Equal(t, 2, code)
	require.Contains(t, output, "--consumer-group, --watermill-attempts: only with --watermill-topic")
	code, output = run(t, env, "forward", "--watermill-topic", "x", "--engine", "watermill", "--retention", "1d")
	require.Equal(t, 2, code)
	require.Contains(t, output, "--engine, --retention: not with --watermill-topic")
	code, output = run(t, append(env, "TAILRACE_OUTBOXES=a="+b.dsn+"#other"), "forward", "--watermill-topic", "x")
	require.Equal(t, 2, code, output)
	require.Contains(t, output, "TAILRACE_OUTBOXES: not with --watermill-topic")
	code, output = run(t, env, "forward", "--watermill-topic", `x"; DROP TABLE event_outbox; --`)
	require.Equal(t, 2, code)
	require.Contains(t, output, "watermill-sql takes letters")
	code, output = run(t, env, "forward", "--watermill-topic", "nobodys")
	require.Equal(t, 1, code)
	require.Contains(t, output, `"watermill_nobodys"`)
}
