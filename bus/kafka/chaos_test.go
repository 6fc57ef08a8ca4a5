package kafka_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

// TestChaos lets faults of every kind come down on owners that behave as the forwarder does: each sends
// the events of its keys in order, starts a key again from the first event that was not delivered, and is
// replaced by another owner when it loses its permit. What counts in the end is each key's log: every
// event, the first copy of each in order.
func TestChaos(t *testing.T) {
	t.Parallel()
	rounds := 2
	if os.Getenv("TAILRACE_LONG") != "" {
		rounds = 12
	}
	for round := range rounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			chaos(t, uint64(round))
		})
	}
}

func chaos(t *testing.T, seed uint64) {
	const keys, events, partitions = 60, 150, 5
	broker := bustest.Kafka(t, bustest.KafkaBrokers(2))
	broker.CreateTopic(t, "orders", partitions, map[string]string{"max.message.bytes": "3000"})
	sender := newSender(t, broker.Brokers(), func(c *kafka.SenderConfig) {
		c.Config.RequestTimeout = 300 * time.Millisecond
		c.MetadataRefresh = 50 * time.Millisecond
		c.BatchRecords = 8
	})
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 1))
	chance := func(percent int) bool {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(100) < percent
	}
	actions := []bustest.Action{
		bustest.DropBefore, bustest.DropAfter, bustest.HangBefore, bustest.HangAfter,
		bustest.RefuseBefore(sarama.ErrNotLeaderForPartition), bustest.RefuseBefore(sarama.ErrNotEnoughReplicas),
		bustest.RefuseAfter(sarama.ErrRequestTimedOut), bustest.RefuseBefore(sarama.ErrOutOfOrderSequenceNumber),
		bustest.RefuseBefore(sarama.ErrTopicAuthorizationFailed),
	}
	broker.FailBatch(func(batch bustest.Batch) bustest.Action {
		if !chance(15) {
			return bustest.Pass
		}
		mu.Lock()
		defer mu.Unlock()
		n := random.IntN(len(actions) * 2)
		switch {
		case n < len(actions):
			return actions[n]
		case batch.Records == 1 && n%2 == 0: // as if the event were at fault; its owner tries again
			return bustest.RefuseBefore(sarama.ErrInvalidRecord)
		default:
			return bustest.Pass
		}
	})

	owners := &owners{t: t, next: make([]int, keys), under: make([]int, keys), events: events, chance: chance}
	for n := 0; !owners.finished(); n++ {
		require.Less(t, n, 500, "owners")
		owners.one(sender)
		if n%3 == 1 {
			broker.Stop()
			broker.Restart(t)
		}
	}
	t.Logf("%d produce requests", broker.ProduceRequests())
	broker.FailBatch(nil)
	seen := map[string]int{}
	for _, record := range broker.Records(t, "orders") {
		key, n := string(record.Key), 0
		_, err := fmt.Sscanf(string(record.Value), "%d", &n)
		require.NoError(t, err)
		require.LessOrEqual(t, n, seen[key], "key %s", key)
		if n == seen[key] {
			seen[key]++
		}
	}
	for key := range keys {
		require.Equal(t, events, seen[fmt.Sprint(key)], "key %d", key)
	}
}

// owners are the owners of the events, one after the other.
type owners struct {
	t      *testing.T
	events int
	chance func(percent int) bool

	mu     sync.Mutex
	next   []int             // of each key, the first event not known to be delivered
	under  []int             // of each key, how many are under way
	sent   []int             // of each key, the next to send
	failed []int             // of each key, the first event that failed; it starts again once nothing is under way
	fences []*delivery.Fence // of each key
}

func (o *owners) finished() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !slices.ContainsFunc(o.next, func(n int) bool { return n < o.events })
}

const none = math.MaxInt

// one owner sends until all is done, it loses its permit or its time is up.
func (o *owners) one(sender *kafka.Sender) {
	o.mu.Lock()
	o.sent = slices.Clone(o.next)
	o.failed = slices.Repeat([]int{none}, len(o.next))
	o.fences = make([]*delivery.Fence, len(o.next))
	o.mu.Unlock()
	changed := make(chan struct{}, 1)
	var lost atomic.Bool
	stream := sender.Stream(delivery.StreamConfig{
		Permit: func() bool {
			if o.chance(1) {
				lost.Store(true)
			}
			return !lost.Load()
		},
		Report: func(records []*delivery.Record, verdict delivery.Verdict) {
			o.report(records, verdict)
			select {
			case changed <- struct{}{}:
			default:
			}
		},
	})
	end := time.After(time.Second)
	for done := false; !done && !lost.Load() && !o.finished(); {
		stream.Send(o.chunk())
		select {
		case <-changed:
		case <-end:
			done = true
		}
	}
	stream.Close()
	for key, n := range o.under {
		require.Zero(o.t, n, "Close leaves nothing of key %d", key)
	}
}

func (o *owners) chunk() []*delivery.Record {
	o.mu.Lock()
	defer o.mu.Unlock()
	var chunk []*delivery.Record
	for key := range o.next {
		if o.fences[key] == nil || (o.failed[key] < none && o.under[key] == 0) {
			o.fences[key], o.failed[key], o.sent[key] = new(delivery.Fence), none, o.next[key]
		}
		for o.failed[key] == none && o.sent[key] < min(o.events, o.next[key]+20) {
			chunk = append(chunk, &delivery.Record{
				Topic: "orders", Key: fmt.Append(nil, key), Value: fmt.Appendf(nil, "%03d", o.sent[key]),
				Ref: int64(key*o.events + o.sent[key]), Fence: o.fences[key],
			})
			o.sent[key]++
			o.under[key]++
		}
	}
	return chunk
}

func (o *owners) report(records []*delivery.Record, verdict delivery.Verdict) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, record := range records {
		key, n := int(record.Ref)/o.events, int(record.Ref)%o.events
		o.under[key]--
		switch {
		case verdict.Fault != delivery.Delivered:
			o.failed[key] = min(o.failed[key], n)
		case o.failed[key] < n: // a batch on the wire may be reported after what a closed stream withheld
			o.t.Errorf("event %d of key %d was delivered behind one that was not", n, key)
		case o.next[key] != n:
			o.t.Errorf("event %d of key %d was delivered, %d was its turn", n, key, o.next[key])
		default:
			o.next[key]++
		}
	}
}
