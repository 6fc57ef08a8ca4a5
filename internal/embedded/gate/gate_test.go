package gate_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tailrace-go/tailrace/internal/embedded/gate"
	"github.com/tailrace-go/tailrace/internal/embedded/kafka"
)

// start returns a cluster with the topic "orders" of that many partitions.
func start(t *testing.T, partitions int32) *kafka.Cluster {
	t.Helper()
	cluster, err := kafka.Start(kafka.Config{})
	require.NoError(t, err)
	t.Cleanup(cluster.Stop)
	client, err := cluster.Client()
	require.NoError(t, err)
	defer client.Close()
	_, err = kadm.NewClient(client).CreateTopic(context.Background(), partitions, 1, nil, "orders")
	require.NoError(t, err)
	return cluster
}

// connect returns a client that goes through the gate. It speaks the newest protocol, with tagged fields.
func connect(t *testing.T, cluster *kafka.Cluster, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(cluster.Brokers()...), kgo.DefaultProduceTopic("orders"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.MetadataMinAge(10 * time.Millisecond),
	}, options...)...)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

// ends returns the end offset of each partition, past the faults.
func ends(t *testing.T, cluster *kafka.Cluster) map[int32]int64 {
	t.Helper()
	client, err := cluster.Client()
	require.NoError(t, err)
	defer client.Close()
	listed, err := kadm.NewClient(client).ListEndOffsets(context.Background(), "orders")
	require.NoError(t, err)
	found := make(map[int32]int64)
	listed.Each(func(offset kadm.ListedOffset) { found[offset.Partition] = offset.Offset })
	return found
}

func TestAnIdempotentProducerSurvivesEveryFault(t *testing.T) {
	t.Parallel()
	cluster := start(t, 2)
	client := connect(t, cluster, kgo.RetryTimeout(time.Minute), kgo.RetryBackoffFn(func(int) time.Duration { return time.Millisecond }))
	actions := []gate.Action{
		gate.RefuseBefore(kerr.NotEnoughReplicas.Code), gate.RefuseAfter(kerr.NotEnoughReplicasAfterAppend.Code),
		gate.DropBefore, gate.DropAfter, gate.Pass,
	}
	var asked, last atomic.Int64
	cluster.Gate().FailProduce(func(batch gate.Batch) gate.Action {
		if batch.ProducerID < 0 || batch.FirstSequence < 0 || batch.Records < 1 || batch.Bytes < batch.Records {
			t.Errorf("%+v is not of an idempotent producer", batch)
		}
		last.Store(int64(batch.FirstSequence))
		return actions[asked.Add(1)%int64(len(actions))]
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for i := range 100 {
		err := client.ProduceSync(ctx, &kgo.Record{Partition: int32(i % 2), Value: []byte("v")}).FirstErr()
		require.NoError(t, err)
	}
	require.Greater(t, asked.Load(), int64(200), "faults must have been hit")
	require.EqualValues(t, 49, last.Load())
	require.Equal(t, map[int32]int64{0: 50, 1: 50}, ends(t, cluster), "nothing lost, nothing twice")
}

func TestWithoutAcksAFaultStillHoldsTheRecordBack(t *testing.T) {
	t.Parallel()
	cluster := start(t, 1)
	client := connect(t, cluster, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	var asked atomic.Int64
	cluster.Gate().FailProduce(func(gate.Batch) gate.Action {
		if asked.Add(1) == 1 {
			return gate.RefuseBefore(kerr.NotEnoughReplicas.Code)
		}
		return gate.Pass
	})
	for range 3 {
		require.NoError(t, client.ProduceSync(context.Background(), &kgo.Record{Value: []byte("v")}).FirstErr())
	}
	require.Eventually(t, func() bool { return ends(t, cluster)[0] == 2 }, 10*time.Second, 10*time.Millisecond)
}

func TestADeniedTopicInNewProtocolVersions(t *testing.T) {
	t.Parallel()
	cluster := start(t, 1)
	cluster.Gate().Deny("orders")
	admin := kadm.NewClient(connect(t, cluster))
	_, err := admin.ListTopics(context.Background(), "orders")
	require.ErrorIs(t, err, kerr.TopicAuthorizationFailed)
	all, err := kadm.NewClient(connect(t, cluster)).ListTopics(context.Background())
	require.NoError(t, err)
	require.NotContains(t, all, "orders", "a listing leaves out what may not be seen")

	cluster.Gate().Allow("orders")
	require.NoError(t, connect(t, cluster).ProduceSync(context.Background(), &kgo.Record{Value: []byte("v")}).FirstErr())
}

func TestShutBreaksConnectionsAndOpenTakesThePortAgain(t *testing.T) {
	t.Parallel()
	cluster := start(t, 1)
	client := connect(t, cluster, kgo.RecordRetries(0), kgo.DisableIdempotentWrite(), kgo.RetryTimeout(50*time.Millisecond),
		kgo.RecordDeliveryTimeout(time.Second))
	ctx := context.Background()
	require.NoError(t, client.ProduceSync(ctx, &kgo.Record{Value: []byte("v")}).FirstErr())
	require.NoError(t, cluster.Shut())
	require.Error(t, client.ProduceSync(ctx, &kgo.Record{Value: []byte("v")}).FirstErr())
	require.Equal(t, map[int32]int64{0: 1}, ends(t, cluster), "the way past the gate stays open")
	require.NoError(t, cluster.Open(ctx))
	require.Eventually(t, func() bool {
		return client.ProduceSync(ctx, &kgo.Record{Value: []byte("v")}).FirstErr() == nil
	}, 10*time.Second, 10*time.Millisecond)
}
