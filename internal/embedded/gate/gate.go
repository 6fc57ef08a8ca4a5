// Package gate stands between Kafka clients and a broker and makes the broker misbehave: it refuses,
// loses and delays produce requests, denies topics, and goes away.
//
// It reads the protocol's frames as they pass. A produce request that a fault concerns is taken apart:
// partitions that must not be appended are left out of what the broker gets and added to its answer.
package gate

import (
	"sync"
	"sync/atomic"
	"time"
)

// Kinds of an Action.
const (
	pass uint8 = iota
	refuseBefore
	refuseAfter
	dropBefore
	dropAfter
	hangBefore
	hangAfter
)

// Action is what becomes of one partition's batch in one produce request. The zero value is [Pass].
type Action struct {
	kind uint8
	code int16
}

// The actions without an error code. Dropping and hanging end the connection for every partition of the
// request; which of them are appended is still each partition's own action.
var (
	// Pass lets the broker decide.
	Pass = Action{}
	// DropBefore appends nothing and closes the connection.
	DropBefore = Action{kind: dropBefore}
	// DropAfter has the batch appended and closes the connection instead of answering.
	DropAfter = Action{kind: dropAfter}
	// HangBefore appends nothing and never answers; the connection stays open.
	HangBefore = Action{kind: hangBefore}
	// HangAfter has the batch appended and never answers; the connection stays open.
	HangAfter = Action{kind: hangAfter}
)

// RefuseBefore appends nothing and answers with the error code, for instance
// int16(sarama.ErrNotEnoughReplicas).
func RefuseBefore[C ~int16](code C) Action { return Action{kind: refuseBefore, code: int16(code)} }

// RefuseAfter has the batch appended and answers with the error code all the same, as
// NOT_ENOUGH_REPLICAS_AFTER_APPEND and REQUEST_TIMED_OUT do.
func RefuseAfter[C ~int16](code C) Action { return Action{kind: refuseAfter, code: int16(code)} }

func (a Action) appends() bool {
	return a.kind == pass || a.kind == refuseAfter || a.kind == dropAfter || a.kind == hangAfter
}

// Batch is one partition's share of a produce request.
type Batch struct {
	Topic     string
	Partition int32
	// Records is the number of records, Bytes the size of the batch as sent.
	Records, Bytes int
	// ProducerID, ProducerEpoch and FirstSequence are those of an idempotent producer, else -1.
	ProducerID    int64
	ProducerEpoch int16
	FirstSequence int32
}

// Gate holds the faults of one cluster. It is safe for concurrent use.
type Gate struct {
	produce  atomic.Pointer[func(Batch) Action]
	latency  atomic.Int64
	requests atomic.Int64

	mu     sync.RWMutex
	denied map[string]bool
}

// New returns a gate that lets everything pass.
func New() *Gate { return &Gate{denied: make(map[string]bool)} }

// FailProduce asks the function for each partition of each produce request what becomes of it. Nil asks
// nobody. The function is called from the connections' goroutines, several at a time; while it blocks,
// so does that connection alone.
func (g *Gate) FailProduce(fail func(Batch) Action) {
	if fail == nil {
		g.produce.Store(nil)
		return
	}
	g.produce.Store(&fail)
}

// ProduceLatency delays each answer to a produce request by d. Like a broker's, it holds up later
// requests on the same connection and nothing else.
func (g *Gate) ProduceLatency(d time.Duration) { g.latency.Store(int64(d)) }

// Deny answers TOPIC_AUTHORIZATION_FAILED to produce and metadata requests for the topic.
func (g *Gate) Deny(topic string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.denied[topic] = true
}

// Allow ends Deny.
func (g *Gate) Allow(topic string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.denied, topic)
}

// ProduceRequests is the number of produce requests that have come in.
func (g *Gate) ProduceRequests() int64 { return g.requests.Load() }

// Reset ends every fault and counts from zero.
func (g *Gate) Reset() {
	g.requests.Store(0)
	g.FailProduce(nil)
	g.ProduceLatency(0)
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.denied)
}

func (g *Gate) isDenied(topic string) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.denied[topic]
}

func (g *Gate) denies() bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return len(g.denied) > 0
}
