// Package delivery says what it means to deliver a record: the record, the verdict on it and whose
// fault a refusal was. The forwarder and the direct publisher speak it; bus/kafka carries it out.
//
// Delivery is at least once and in order within (topic, key): a [Stream] sends the records of one key
// in the order it was given them, and after a refusal sends none behind it (see [Fence]).
package delivery

import (
	"sync/atomic"
	"time"
)

// Record is one record to be sent. The sender neither changes nor copies it; the caller may reuse it,
// and what it points to, once the record's verdict was reported.
type Record struct {
	// Topic is the destination, complete with prefix.
	Topic string
	// Key decides the partition (as Java's client, unless the sender or Route was told otherwise). Nil is a
	// null key: any partition, no order.
	// An empty, non-nil Key is a key like any other.
	Key []byte
	// Value is the record's body; nil is a tombstone.
	Value []byte
	// Headers are sent in this order.
	Headers []Header
	// Route, if set, says of Key what the sender may not know, for records that follow another sender's.
	Route *Route
	// Fence, if set, is shared by the records that must not overtake one another.
	Fence *Fence
	// Ref is the caller's own, for instance the outbox row's id. The sender does not read it.
	Ref int64
}

// Header is one record header.
type Header struct {
	Key   string
	Value []byte
}

// Fence keeps the records of one key in order across a refusal. The sender closes it when a record that
// carries it gets a verdict other than [Delivered], before it reports that verdict, and withholds every
// record whose fence is closed. A closed fence never opens: the caller sends the key's records again,
// in order, under a new one.
type Fence struct{ closed atomic.Bool }

// Close closes the fence. It may be called more than once.
func (f *Fence) Close() {
	if f != nil {
		f.closed.Store(true)
	}
}

// Closed reports whether records behind this fence are withheld. A nil fence is always open.
func (f *Fence) Closed() bool { return f != nil && f.closed.Load() }

// Fault says what became of a record and, if it was not delivered, whose fault that was.
type Fault uint8

const (
	// Delivered: every in-sync replica has the record (acks=all).
	Delivered Fault = iota
	// Transport: the broker was away or did not answer, and the sender was told to stop before it came
	// back. The record may or may not have been appended. It says nothing about the record.
	Transport
	// Topic: the topic is unknown, or this client may not write to it. Nothing was appended.
	Topic
	// Refused: the broker or the encoding refuses this very record, whatever is sent with it (too large
	// alone, an illegal topic name). Nothing was appended.
	Refused
	// Withheld: not sent, since an earlier record of its fence was refused or its stream was closed.
	Withheld
)

// String returns the fault as it stands in logs and metric labels.
func (f Fault) String() string {
	switch f {
	case Delivered:
		return "delivered"
	case Transport:
		return "transport"
	case Topic:
		return "topic"
	case Refused:
		return "record"
	case Withheld:
		return "withheld"
	default:
		return "unknown"
	}
}

// Verdict is what became of the records it is reported with. All of them share it.
type Verdict struct {
	Fault Fault
	// Err is nil for Delivered, and else says why. It carries no payload.
	Err error
	// Partition and Offset are where the first of the records was appended, -1 when not known. The
	// others follow at consecutive offsets.
	Partition int32
	Offset    int64
	// Sent is when the request that carried the records left for the first time, zero for records that
	// were not sent, or when the sender does not say.
	Sent time.Time
}

// Sender opens streams of records to a broker.
type Sender interface {
	// Stream opens a stream. It does not wait for the broker.
	Stream(StreamConfig) Stream
}

// StreamConfig is how a stream asks and tells its owner. The functions are called from the sender's own
// goroutines and must not block.
type StreamConfig struct {
	// Permit is asked before every produce request that carries records of this stream, each resend
	// included. Once it says no, nothing of the stream is sent any more: what was never sent is reported
	// Withheld, a batch whose outcome is unknown Transport. Nil always permits.
	Permit func() bool
	// Report is called exactly once for each record, in order within a partition. The slice is the
	// callee's to keep.
	Report func([]*Record, Verdict)
	// Unreachable, if set, is called with the reason each time a request fails for the transport's
	// sake, and with nil once a request succeeds after that.
	Unreachable func(error)
}

// Stream is one owner's ordered flow of records.
type Stream interface {
	// Send queues records, in order, and returns at once. The caller bounds what is in flight. It is
	// safe for concurrent use, though records of one key only keep an order that the caller gave them.
	Send([]*Record)
	// Close stops the stream: what was never sent is reported Withheld at once; a batch on the wire is
	// reported by its answer, or as Transport if that does not come within the sender's request
	// timeout. Close returns when every record has been reported.
	Close()
}
