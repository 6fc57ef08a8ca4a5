package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"golang.org/x/sync/semaphore"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// PublisherConfig is how a [Publisher] publishes. Only Sender.Config is needed.
type PublisherConfig struct {
	// Sender is how the records are sent.
	Sender SenderConfig
	// Timeout is how long Publish waits for the broker; the default is 30 s. A message's context can end
	// the wait earlier.
	Timeout time.Duration
	// Buffer bounds the messages all calls of Publish wait for together; a call that finds it full waits
	// for room. The default is 100,000.
	Buffer int
}

// Validate reports all mistakes at once, each wrapping [ErrConfig].
func (c PublisherConfig) Validate() error {
	errs := []error{c.Sender.Validate()}
	if c.Timeout < 0 {
		errs = append(errs, configError("Timeout is %v; it must be positive, or 0 for 30s", c.Timeout))
	}
	if c.Buffer < 0 {
		errs = append(errs, configError("Buffer is %d; it must be positive, or 0 for the default", c.Buffer))
	}
	return errors.Join(errs...)
}

// Publisher publishes Watermill messages straight to Kafka: no transaction, no outbox. It is a
// message.Publisher and safe for concurrent use; calls at the same time share batches.
type Publisher struct {
	config PublisherConfig
	sender *Sender
	stream *stream
	room   *semaphore.Weighted
	calls  sync.WaitGroup // that run

	mu      sync.Mutex
	closed  bool
	waiting map[*delivery.Record]*call
	trouble error // why the broker is out of reach, nil when it is not
}

var _ message.Publisher = (*Publisher)(nil)

// NewPublisher checks the configuration and connects when the first message is published. The error lists
// every mistake and wraps [ErrConfig].
func NewPublisher(config PublisherConfig) (*Publisher, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	config.Timeout = cmp.Or(config.Timeout, 30*time.Second)
	config.Buffer = cmp.Or(config.Buffer, 100_000)
	sender, err := NewSender(config.Sender)
	if err != nil {
		return nil, err
	}
	p := &Publisher{
		config:  config,
		sender:  sender,
		room:    semaphore.NewWeighted(int64(config.Buffer)),
		waiting: map[*delivery.Record]*call{},
	}
	p.stream = sender.open(delivery.StreamConfig{Report: p.report, Unreachable: p.unreachable})
	return p, nil
}

// call is a call of Publish.
type call struct {
	records  []delivery.Record
	verdicts []delivery.Verdict
	reported []bool
	left     int
	done     chan struct{}
}

// Publish sends the messages and waits until Kafka has all of them, at most for the timeout and as long
// as the messages' contexts last. The record key is the metadata [delivery.KeyMetadata].
//
// Any failure is a [*PublishError], which says what became of each message that is not known to have been
// delivered; errors.Is finds a context's error in it. After a failure no later message of its key in the
// same call is delivered. A payload must not be changed before Publish has returned nil.
func (p *Publisher) Publish(topic string, messages ...*message.Message) error {
	if len(messages) == 0 {
		return nil
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return publishError(topic, messages, func(int) (delivery.Verdict, bool) { return withheld(ErrClosed), true })
	}
	p.calls.Add(1)
	p.mu.Unlock()
	defer p.calls.Done()

	ctx, cancel := p.context(messages)
	defer cancel()
	n := int64(min(len(messages), p.config.Buffer))
	if err := p.room.Acquire(ctx, n); err != nil {
		err := p.gaveUp(ctx)
		return publishError(topic, messages, func(int) (delivery.Verdict, bool) { return withheld(err), true })
	}
	c := p.send(topic, messages)
	select {
	case <-c.done:
		p.room.Release(n)
	case <-ctx.Done():
		p.withdraw(c, p.gaveUp(ctx))
		go func() {
			<-c.done // when the sender is closed at the latest
			p.room.Release(n)
		}()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	gaveUp := error(nil)
	if c.left > 0 {
		gaveUp = p.gaveUpLocked(ctx)
	}
	return publishError(topic, messages, func(i int) (delivery.Verdict, bool) {
		if !c.reported[i] {
			return delivery.Verdict{Fault: delivery.Transport, Err: gaveUp}, true
		}
		return c.verdicts[i], c.verdicts[i].Fault != delivery.Delivered
	})
}

// context ends with the timeout or the first of the messages' contexts.
func (p *Publisher) context(messages []*message.Message) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancelCause(context.Background())
	var stops []func() bool
	var last <-chan struct{}
	for _, msg := range messages {
		of := msg.Context()
		if done := of.Done(); done != nil && done != last {
			last = done
			stops = append(stops, context.AfterFunc(of, func() { stop(contextError(of)) }))
		}
	}
	timer := time.AfterFunc(p.config.Timeout, func() { stop(context.DeadlineExceeded) })
	return ctx, func() {
		timer.Stop()
		for _, end := range stops {
			end()
		}
		stop(nil)
	}
}

// contextError is why a context ended, as its Err says and as its cause does.
func contextError(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, ctx.Err()) {
		return fmt.Errorf("%w: %w", ctx.Err(), cause)
	}
	return ctx.Err()
}

func (p *Publisher) send(topic string, messages []*message.Message) *call {
	c := &call{
		records:  make([]delivery.Record, len(messages)),
		verdicts: make([]delivery.Verdict, len(messages)),
		reported: make([]bool, len(messages)),
		left:     len(messages),
		done:     make(chan struct{}),
	}
	fences := map[string]*delivery.Fence{}
	pointers := make([]*delivery.Record, len(messages))
	for i, msg := range messages {
		record := &c.records[i]
		*record = delivery.FromMessage(topic, msg)
		record.Ref = int64(i)
		if record.Key != nil {
			record.Fence = fences[string(record.Key)]
		}
		if record.Fence == nil {
			record.Fence = new(delivery.Fence)
			if record.Key != nil {
				fences[string(record.Key)] = record.Fence
			}
		}
		pointers[i] = record
	}
	p.mu.Lock()
	for _, record := range pointers {
		p.waiting[record] = c
	}
	p.mu.Unlock()
	p.stream.Send(pointers)
	return c
}

// withdraw takes back what was not sent yet.
func (p *Publisher) withdraw(c *call, err error) {
	for i := range c.records {
		c.records[i].Fence.Close()
	}
	p.stream.withdraw(err)
}

func (p *Publisher) report(records []*delivery.Record, verdict delivery.Verdict) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, record := range records {
		c := p.waiting[record]
		delete(p.waiting, record)
		c.verdicts[record.Ref] = verdict
		c.reported[record.Ref] = true
		if c.left--; c.left == 0 {
			close(c.done)
		}
	}
}

func (p *Publisher) unreachable(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trouble = err
}

// gaveUp is why a call waits no longer.
func (p *Publisher) gaveUp(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gaveUpLocked(ctx)
}

func (p *Publisher) gaveUpLocked(ctx context.Context) error {
	err := context.Cause(ctx)
	if p.trouble != nil {
		return fmt.Errorf("kafka: gave up waiting for the broker: %w (last: %w)", err, p.trouble)
	}
	return fmt.Errorf("kafka: gave up waiting for the broker: %w", err)
}

// Close waits for the calls of Publish that run, which their timeout bounds, and disconnects.
func (p *Publisher) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.calls.Wait()
	return p.sender.Close()
}
