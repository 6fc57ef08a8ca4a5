package forwarder_test

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/forwarder"
)

// faultyPublisher records what it lets through.
type faultyPublisher struct {
	mu        sync.Mutex
	refuse    func(*message.Message) error
	published map[string][]*message.Message
}

func (p *faultyPublisher) Publish(topic string, messages ...*message.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, msg := range messages {
		if p.refuse != nil {
			if err := p.refuse(msg); err != nil {
				return err
			}
		}
		p.published[topic] = append(p.published[topic], msg)
	}
	return nil
}

func (p *faultyPublisher) Close() error { return nil }

func (p *faultyPublisher) of(topic string) []*message.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.published[topic]
}

func TestForwardsToAnyWatermillPublisher(t *testing.T) {
	t.Parallel()
	b := setup(t)
	channel := gochannel.NewGoChannel(gochannel.Config{OutputChannelBuffer: 2000, Persistent: true}, watermill.NopLogger{})
	b.insert("users", 1000, 10)
	b.exec(`UPDATE event_outbox SET headers = '{"ce_type":"user_created"}'`)
	f := b.forwarder(func(c *forwarder.Config) {
		c.Sender = forwarder.NewPublisherSender(channel, forwarder.PublisherSenderConfig{})
	})
	require.NoError(t, f.Drain(t.Context()))
	messages, err := channel.Subscribe(t.Context(), "users")
	require.NoError(t, err)
	seen := map[string]bool{}
	for len(seen) < 1000 {
		msg := <-messages
		seen[msg.UUID] = true
		require.Equal(t, "user_created", msg.Metadata.Get("ce_type"))
		require.NotEmpty(t, msg.Metadata.Get(delivery.KeyMetadata))
		msg.Ack()
	}
	require.NoError(t, channel.Close())
}

func TestPublisherThatRefusesOneEvent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.insert("users", 100, 4)
	publisher := &faultyPublisher{published: map[string][]*message.Message{}}
	publisher.refuse = func(msg *message.Message) error {
		if msg.UUID == "users-40" && msg.Metadata.Get(deadletter.HeaderReason) == "" {
			return errors.New("cannot be marshaled")
		}
		return nil
	}
	b.run(b.forwarder(func(c *forwarder.Config) {
		c.Sender = forwarder.NewPublisherSender(publisher, forwarder.PublisherSenderConfig{})
	}))
	eventually(t, "all but one are settled, one is dead", func() bool { return b.pending() == 0 && dead(b) == 1 })
	require.Len(t, publisher.of("dead"), 1)
	next := map[string]string{}
	for _, msg := range publisher.of("users") {
		key := msg.Metadata.Get(delivery.KeyMetadata)
		number := fmt.Sprintf("%3s", msg.Payload)
		if number > next[key] {
			next[key] = number // a duplicate of a group that failed comes again, never out of order
		}
	}
	require.Len(t, next, 4)
}

func TestPublisherThatIsAwayCountsAgainstNoEvent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.insert("users", 100, 4)
	away := make(chan struct{})
	publisher := &faultyPublisher{published: map[string][]*message.Message{}}
	tries := 0
	publisher.refuse = func(*message.Message) error {
		select {
		case <-away:
			return nil
		default:
			if tries++; tries == 10 {
				close(away)
			}
			return fmt.Errorf("connection lost: %w", io.EOF)
		}
	}
	require.NoError(t, b.forwarder(func(c *forwarder.Config) {
		c.Sender = forwarder.NewPublisherSender(publisher, forwarder.PublisherSenderConfig{RetryMin: time.Millisecond, RetryMax: 5 * time.Millisecond})
	}).Drain(t.Context()))
	require.Len(t, publisher.of("users"), 100)
	require.Zero(t, dead(b))
}
