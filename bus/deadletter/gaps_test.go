package deadletter_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

// TestOffsetsWithoutALetter: retention took the first letters away, and the last offset of a partition is
// a transaction's marker, which no consumer is given.
func TestOffsetsWithoutALetter(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.die(20, 1) // all in one partition
	partitions, err := p.mailbox.Partitions(t.Context())
	require.NoError(t, err)
	at := partitions[0]
	if at.End == 0 {
		at = partitions[1]
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(p.broker.Brokers()...), kgo.TransactionalID("someone"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	defer client.Close()
	var offsets kadm.Offsets
	offsets.AddOffset(letterTopic, at.ID, 5, -1)
	_, err = kadm.NewClient(client).DeleteRecords(t.Context(), offsets)
	require.NoError(t, err)
	require.NoError(t, client.BeginTransaction())
	require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{
		Topic: letterTopic, Partition: at.ID,
		Headers: []kgo.RecordHeader{{Key: deadletter.HeaderTopic, Value: []byte(orders)}},
	}).FirstErr())
	require.NoError(t, client.EndTransaction(t.Context(), kgo.TryCommit))

	p.mailbox, err = kafka.NewMailbox(kafka.MailboxConfig{Config: p.config(), Topic: letterTopic, QuietTime: 300 * time.Millisecond})
	require.NoError(t, err)
	defer p.mailbox.Close()
	p.mustRequeue(16)
	require.Len(t, p.broker.Records(t, orders), 16)
	p.mustRequeue(0)
	p.die(1, 1)
	p.mustRequeue(1)
}
