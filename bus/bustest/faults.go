package bustest

import (
	"time"

	"github.com/tailrace-go/tailrace/internal/embedded/gate"
)

// Action is what becomes of one partition's batch in one produce request: [Pass], [RefuseBefore],
// [RefuseAfter], [DropBefore], [DropAfter], [HangBefore] or [HangAfter].
type Action = gate.Action

// Batch is one partition's share of a produce request.
type Batch = gate.Batch

// The actions without an error code. Dropping and hanging leave the whole request without an answer;
// which of its partitions are appended is still each one's own action.
var (
	// Pass lets the broker decide.
	Pass = gate.Pass
	// DropBefore appends nothing and closes the connection.
	DropBefore = gate.DropBefore
	// DropAfter has the batch appended and closes the connection instead of answering.
	DropAfter = gate.DropAfter
	// HangBefore appends nothing and never answers; the client's timeout ends the wait.
	HangBefore = gate.HangBefore
	// HangAfter has the batch appended and never answers; the client's timeout ends the wait.
	HangAfter = gate.HangAfter
)

// RefuseBefore appends nothing and answers with the error code, as in
// RefuseBefore(sarama.ErrNotEnoughReplicas).
func RefuseBefore[C ~int16](code C) Action { return gate.RefuseBefore(code) }

// RefuseAfter has the batch appended and answers with the error code all the same, as
// NOT_ENOUGH_REPLICAS_AFTER_APPEND and REQUEST_TIMED_OUT do.
func RefuseAfter[C ~int16](code C) Action { return gate.RefuseAfter(code) }

// Faulty reports whether faults can be injected: into every broker that bustest starts, except one in a
// process of its own. Elsewhere the calls below skip the test.
func (b *Broker) Faulty() bool { return b.gate != nil }

func (b *Broker) faults() *gate.Gate {
	b.t.Helper()
	if b.gate == nil {
		b.t.Skip("bustest: injecting faults needs a broker that bustest started in this process or as Apache Kafka")
	}
	return b.gate
}

// FailProduce asks the function for each partition of each produce request what becomes of it; nil ends
// that. It is called from the connections' goroutines, several at a time: while it blocks, so does that
// connection alone.
func (b *Broker) FailProduce(fail func(topic string, partition int32) Action) {
	b.t.Helper()
	if fail == nil {
		b.FailBatch(nil)
		return
	}
	b.FailBatch(func(batch Batch) Action { return fail(batch.Topic, batch.Partition) })
}

// FailBatch is FailProduce for faults that depend on more than the partition. Each replaces the other.
func (b *Broker) FailBatch(fail func(Batch) Action) {
	b.t.Helper()
	b.faults().FailProduce(fail)
}

// ProduceLatency delays the answer to each produce request by d. Like a broker's own latency it holds up
// later requests on the same connection and nothing else. 0 ends it.
func (b *Broker) ProduceLatency(d time.Duration) {
	b.t.Helper()
	b.faults().ProduceLatency(d)
}

// ProduceRequests is the number of produce requests clients have sent since the broker started.
func (b *Broker) ProduceRequests() int64 {
	b.t.Helper()
	return b.faults().ProduceRequests()
}

// Deny takes the topic from the clients: produce and metadata requests for it are answered with
// TOPIC_AUTHORIZATION_FAILED. (A client that may see a topic but not write to it is
// FailProduce with RefuseBefore(sarama.ErrTopicAuthorizationFailed).)
func (b *Broker) Deny(topic string) {
	b.t.Helper()
	b.faults().Deny(topic)
}

// Allow ends Deny.
func (b *Broker) Allow(topic string) {
	b.t.Helper()
	b.faults().Allow(topic)
}
