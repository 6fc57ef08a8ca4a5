package bustest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
)

func TestFailProduce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		action   bustest.Action
		appended bool
		err      error // nil: any error
	}{
		{"a refusal appends nothing", bustest.RefuseBefore(sarama.ErrNotEnoughReplicas), false, sarama.ErrNotEnoughReplicas},
		{"even one that usually comes after the append", bustest.RefuseBefore(sarama.ErrRequestTimedOut), false, sarama.ErrRequestTimedOut},
		{"an error after the append", bustest.RefuseAfter(sarama.ErrNotEnoughReplicasAfterAppend), true, sarama.ErrNotEnoughReplicasAfterAppend},
		{"a connection lost before the append", bustest.DropBefore, false, nil},
		{"a connection lost after the append", bustest.DropAfter, true, nil},
		{"no answer, not appended", bustest.HangBefore, false, nil},
		{"no answer, appended", bustest.HangAfter, true, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			broker := bustest.Kafka(t)
			broker.CreateTopic(t, "orders", 2, nil)
			producer := newProducer(t, broker)
			broker.FailProduce(func(_ string, partition int32) bustest.Action {
				if partition == 1 {
					return test.action
				}
				return bustest.Pass
			})
			_, _, err := producer.SendMessage(record("orders", 1, nil, "faulted"))
			require.Error(t, err)
			if test.err != nil {
				require.ErrorIs(t, err, test.err)
			}
			// The fault ends where it was asked to.
			_, _, err = newProducer(t, broker).SendMessage(record("orders", 0, nil, "untouched"))
			require.NoError(t, err)
			broker.FailProduce(nil)
			_, _, err = newProducer(t, broker).SendMessage(record("orders", 1, nil, "later"))
			require.NoError(t, err)

			var values []string
			for _, record := range broker.Records(t, "orders") {
				values = append(values, string(record.Value))
			}
			if test.appended {
				require.Equal(t, []string{"untouched", "faulted", "later"}, values)
			} else {
				require.Equal(t, []string{"untouched", "later"}, values)
			}
		})
	}
}

// rawProduce sends one produce request with a record for each of the partitions.
func rawProduce(t *testing.T, broker *bustest.Broker, topic string, partitions int32) (*sarama.ProduceResponse, error) {
	t.Helper()
	client, err := sarama.NewClient(broker.Brokers(), newSaramaConfig())
	require.NoError(t, err)
	defer client.Close()
	leader, err := client.Leader(topic, 0)
	require.NoError(t, err)
	request := &sarama.ProduceRequest{Version: 3, RequiredAcks: sarama.WaitForAll, Timeout: 1000}
	for partition := range partitions {
		request.AddBatch(topic, partition, &sarama.RecordBatch{
			Version: 2, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1,
			Records: []*sarama.Record{{Value: fmt.Append(nil, partition)}},
		})
	}
	return leader.Produce(request)
}

func TestOneRequestCanFailForSomeOfItsPartitions(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "orders", 4, nil)
	broker.FailBatch(func(batch bustest.Batch) bustest.Action {
		require.Equal(t, 1, batch.Records)
		switch batch.Partition {
		case 1:
			return bustest.RefuseBefore(sarama.ErrMessageSizeTooLarge)
		case 2:
			return bustest.RefuseAfter(sarama.ErrRequestTimedOut)
		default:
			return bustest.Pass
		}
	})
	response, err := rawProduce(t, broker, "orders", 4)
	require.NoError(t, err)
	for partition, want := range []sarama.KError{
		sarama.ErrNoError, sarama.ErrMessageSizeTooLarge, sarama.ErrRequestTimedOut, sarama.ErrNoError,
	} {
		require.Equal(t, want, response.GetBlock("orders", int32(partition)).Err, "partition %d", partition)
	}
	var appended []int32
	for _, record := range broker.Records(t, "orders") {
		appended = append(appended, record.Partition)
	}
	require.Equal(t, []int32{0, 2, 3}, appended)

	broker.FailProduce(func(string, int32) bustest.Action { return bustest.RefuseBefore(sarama.ErrInvalidTopic) })
	response, err = rawProduce(t, broker, "orders", 4)
	require.NoError(t, err)
	require.Equal(t, sarama.ErrInvalidTopic, response.GetBlock("orders", 3).Err)
	require.Len(t, broker.Records(t, "orders"), 3)
	require.EqualValues(t, 2, broker.ProduceRequests())
}

func TestDenyTakesOneTopicAway(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "secret", 1, nil)
	broker.CreateTopic(t, "open", 1, nil)
	before := newProducer(t, broker) // knows both topics
	_, _, err := before.SendMessage(record("secret", 0, nil, "allowed"))
	require.NoError(t, err)

	broker.Deny("secret")
	_, _, err = before.SendMessage(record("secret", 0, nil, "denied"))
	require.ErrorIs(t, err, sarama.ErrTopicAuthorizationFailed)
	_, _, err = newProducer(t, broker).SendMessage(record("secret", 0, nil, "denied"))
	require.ErrorIs(t, err, sarama.ErrTopicAuthorizationFailed)
	_, _, err = before.SendMessage(record("open", 0, nil, "allowed"))
	require.NoError(t, err)

	broker.Allow("secret")
	_, _, err = newProducer(t, broker).SendMessage(record("secret", 0, nil, "allowed again"))
	require.NoError(t, err)
	require.Len(t, broker.Records(t, "secret"), 2)
}

func TestProduceLatencyDelaysProducersOnly(t *testing.T) {
	t.Parallel()
	const latency = 40 * time.Millisecond
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "orders", 8, nil)
	producers := make([]sarama.SyncProducer, 8)
	for i := range producers {
		producers[i] = newProducer(t, broker)
	}
	broker.ProduceLatency(latency)
	done := make(chan time.Duration, len(producers))
	start := time.Now()
	for i, producer := range producers {
		go func() {
			_, _, err := producer.SendMessage(record("orders", int32(i), nil, "x"))
			if err != nil {
				t.Error(err)
			}
			done <- time.Since(start)
		}()
	}
	for range producers {
		took := <-done
		require.GreaterOrEqual(t, took, latency)
		// One after the other they would take eight times as long.
		require.Less(t, took, 5*latency)
	}
	start = time.Now()
	require.Len(t, broker.Records(t, "orders"), len(producers))
	broker.ProduceLatency(0)
}
