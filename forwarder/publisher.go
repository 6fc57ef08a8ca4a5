package forwarder

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/forwarder/internal/mailbox"
)

// PublisherSenderConfig says how a Watermill publisher's errors are read.
type PublisherSenderConfig struct {
	// Fault says whose fault an error of Publish is: [delivery.Transport] is tried again for as long as
	// it takes, [delivery.Topic] pauses the topic, [delivery.Refused] counts against the event. Default:
	// what the error itself says, if it has a method Fault() [delivery.Fault], as bus/kafka's does; else
	// network errors, timeouts and cancellations are Transport, anything else Refused.
	Fault func(error) delivery.Fault
	// RetryMin and RetryMax bound the wait before a publish is tried again for the transport's sake.
	// Default 100 ms and 10 s.
	RetryMin, RetryMax time.Duration
	// BatchSize is how many messages one Publish gets at most. Default 500.
	BatchSize int
}

// NewPublisherSender returns a sender over any Watermill publisher: one topic's records at a time, in
// order, each group in one Publish. The record key travels in the metadata field
// [delivery.KeyMetadata], for the publisher's marshaler to use. When a group fails, its messages are
// published one by one, so that only the guilty one is blamed; those that had arrived already are then
// duplicates. The publisher is the caller's to close.
//
// It cannot do what bus/kafka's sender does: a publisher that gives up on a message that later arrives
// all the same may let a later one pass it.
func NewPublisherSender(publisher message.Publisher, config PublisherSenderConfig) delivery.Sender {
	if config.Fault == nil {
		config.Fault = toldFault
	}
	if config.RetryMin <= 0 {
		config.RetryMin = 100 * time.Millisecond
	}
	if config.RetryMax < config.RetryMin {
		config.RetryMax = max(config.RetryMin, 10*time.Second)
	}
	if config.BatchSize <= 0 {
		config.BatchSize = 500
	}
	return &publisherSender{publisher: publisher, config: config}
}

func publisherFault(err error) delivery.Fault {
	var network net.Error
	if errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return delivery.Transport
	}
	return delivery.Refused
}

type publisherSender struct {
	publisher message.Publisher
	config    PublisherSenderConfig
}

// Stream implements [delivery.Sender].
func (s *publisherSender) Stream(config delivery.StreamConfig) delivery.Stream {
	if config.Permit == nil {
		config.Permit = func() bool { return true }
	}
	if config.Unreachable == nil {
		config.Unreachable = func(error) {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	st := &publisherStream{sender: s, config: config, queue: mailbox.New[[]*delivery.Record](), ctx: ctx, cancel: cancel, done: make(chan struct{})}
	go st.run()
	return st
}

type publisherStream struct {
	sender *publisherSender
	config delivery.StreamConfig
	queue  *mailbox.Mailbox[[]*delivery.Record]
	ctx    context.Context //nolint:containedctx // The stream's lifetime, ended by Close.
	cancel context.CancelFunc
	done   chan struct{}
	mu     sync.Mutex
	closed bool
}

var errClosed = errors.New("forwarder: the stream was closed")

// Send implements [delivery.Stream].
func (st *publisherStream) Send(records []*delivery.Record) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed {
		st.config.Report(records, delivery.Verdict{Fault: delivery.Withheld, Err: errClosed, Partition: -1, Offset: -1})
		return
	}
	st.queue.Put(records)
}

// Close implements [delivery.Stream]. It waits for a Publish that is under way.
func (st *publisherStream) Close() {
	st.mu.Lock()
	st.closed = true
	st.mu.Unlock()
	st.cancel()
	<-st.done
}

func (st *publisherStream) run() {
	defer close(st.done)
	for {
		select {
		case <-st.queue.Ready:
		case <-st.ctx.Done():
			for _, records := range st.queue.Take() {
				st.withhold(records)
			}
			return
		}
		var records []*delivery.Record
		for _, some := range st.queue.Take() {
			records = append(records, some...)
		}
		for _, group := range groups(records, st.sender.config.BatchSize) {
			st.publish(group)
		}
	}
}

// groups splits records by topic, in order within each, into groups of at most size.
func groups(records []*delivery.Record, size int) [][]*delivery.Record {
	byTopic := map[string]int{}
	var out [][]*delivery.Record
	for _, record := range records {
		at, ok := byTopic[record.Topic]
		if !ok || len(out[at]) == size {
			at = len(out)
			byTopic[record.Topic] = at
			out = append(out, nil)
		}
		out[at] = append(out[at], record)
	}
	return out
}

// publish sends a group, all at once and, if that fails, one by one.
func (st *publisherStream) publish(group []*delivery.Record) {
	group = st.passing(group)
	if len(group) == 0 {
		return
	}
	sent := time.Now()
	fault, err := st.attempt(group)
	if err == nil || len(group) == 1 || fault == delivery.Transport || fault == delivery.Withheld {
		st.report(group, sent, fault, err)
		return
	}
	for _, record := range group {
		if one := st.passing([]*delivery.Record{record}); len(one) == 1 {
			sent := time.Now()
			fault, err := st.attempt(one)
			st.report(one, sent, fault, err)
		}
	}
}

// attempt publishes until the answer is not the transport's fault.
func (st *publisherStream) attempt(group []*delivery.Record) (delivery.Fault, error) {
	for wait := st.sender.config.RetryMin; ; wait = min(2*wait, st.sender.config.RetryMax) {
		if st.ctx.Err() != nil || !st.config.Permit() {
			return delivery.Withheld, errClosed
		}
		err := st.sender.publisher.Publish(group[0].Topic, st.messages(group)...)
		if err == nil {
			st.config.Unreachable(nil)
			return delivery.Delivered, nil
		}
		if fault := st.sender.config.Fault(err); fault != delivery.Transport {
			return fault, err
		}
		st.config.Unreachable(err)
		timer := time.NewTimer(wait - time.Duration(rand.Int64N(int64(wait)/2+1)))
		select {
		case <-timer.C:
		case <-st.ctx.Done():
			timer.Stop()
			return delivery.Transport, err
		}
	}
}

// passing reports the records behind a closed fence and returns the others.
func (st *publisherStream) passing(group []*delivery.Record) []*delivery.Record {
	var held, open []*delivery.Record
	for _, record := range group {
		if record.Fence.Closed() {
			held = append(held, record)
		} else {
			open = append(open, record)
		}
	}
	if len(held) > 0 {
		st.withhold(held)
	}
	return open
}

func (st *publisherStream) withhold(records []*delivery.Record) {
	st.config.Report(records, delivery.Verdict{Fault: delivery.Withheld, Err: errClosed, Partition: -1, Offset: -1})
}

func (st *publisherStream) report(group []*delivery.Record, sent time.Time, fault delivery.Fault, err error) {
	if fault != delivery.Delivered && fault != delivery.Withheld {
		for _, record := range group {
			record.Fence.Close()
		}
	}
	st.config.Report(group, delivery.Verdict{Fault: fault, Err: err, Partition: -1, Offset: -1, Sent: sent})
}

func (st *publisherStream) messages(group []*delivery.Record) []*message.Message {
	messages := make([]*message.Message, len(group))
	for i, record := range group {
		messages[i] = toMessage(record)
	}
	return messages
}

// toMessage is the reverse of [delivery.FromMessage].
func toMessage(record *delivery.Record) *message.Message {
	metadata := make(message.Metadata, len(record.Headers)+1)
	var uuid string
	for _, header := range record.Headers {
		if header.Key == delivery.UUIDHeader {
			uuid = string(header.Value)
			continue
		}
		metadata[header.Key] = string(header.Value)
	}
	if record.Key != nil {
		metadata[delivery.KeyMetadata] = string(record.Key)
	}
	msg := message.NewMessage(uuid, record.Value)
	msg.Metadata = metadata
	return msg
}
