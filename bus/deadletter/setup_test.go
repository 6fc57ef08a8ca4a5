package deadletter_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

const (
	patience    = 30 * time.Second
	orders      = "marty.orders"
	letterTopic = "marty.dead.letter.queue"
)

// post is a broker with a dead-letter topic, and what reads and sends.
type post struct {
	t       *testing.T
	broker  *bustest.Broker
	sender  *kafka.Sender
	mailbox *kafka.Mailbox
}

func newPost(t *testing.T) *post {
	t.Helper()
	p := &post{t: t, broker: bustest.Kafka(t)}
	p.broker.CreateTopic(t, orders, 3, nil)
	p.broker.CreateTopic(t, letterTopic, 2, nil)
	var err error
	p.sender, err = kafka.NewSender(kafka.SenderConfig{
		Config: p.config(), RetryBackoff: time.Millisecond, TopicGrace: 100 * time.Millisecond,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.sender.Close()) })
	p.mailbox = p.open("")
	return p
}

func (p *post) config() kafka.Config { return kafka.Config{Brokers: p.broker.Brokers()} }

func (p *post) open(group string) *kafka.Mailbox {
	p.t.Helper()
	mailbox, err := kafka.NewMailbox(kafka.MailboxConfig{Config: p.config(), Topic: letterTopic, Group: group})
	require.NoError(p.t, err)
	p.t.Cleanup(func() { require.NoError(p.t, mailbox.Close()) })
	return mailbox
}

// die sends letters numbered from 0, of as many keys, as a consumer's chain does.
func (p *post) die(n, keys int, change ...func(i int, record *delivery.Record)) {
	p.t.Helper()
	records := make([]*delivery.Record, n)
	for i := range records {
		key := fmt.Sprintf("key-%d", i%keys)
		records[i] = &delivery.Record{
			Topic: letterTopic, Key: []byte(key), Value: fmt.Appendf(nil, `{"n":%d}`, i),
			Headers: headers(delivery.UUIDHeader, fmt.Sprintf("event-%06d", i), "n", strconv.Itoa(i),
				deadletter.HeaderSource, deadletter.SourceConsumer, deadletter.HeaderTopic, orders, deadletter.HeaderKey, key,
				deadletter.HeaderReason, "reason "+strconv.Itoa(i%3), deadletter.HeaderHandler, "welcome"),
		}
		for _, f := range change {
			f(i, records[i])
		}
	}
	done := make(chan struct{})
	left := n
	stream := p.sender.Stream(delivery.StreamConfig{Report: func(records []*delivery.Record, verdict delivery.Verdict) {
		if verdict.Fault != delivery.Delivered {
			p.t.Error("a letter was not sent: ", verdict.Err)
		}
		if left -= len(records); left == 0 {
			close(done)
		}
	}})
	defer stream.Close()
	stream.Send(records)
	<-done
}

func with(header, value string) func(int, *delivery.Record) {
	return func(_ int, record *delivery.Record) {
		record.Headers = append(record.Headers, delivery.Header{Key: header, Value: []byte(value)})
	}
}

func (p *post) requeue(change ...func(*deadletter.Config)) (deadletter.Report, error) {
	config := deadletter.Config{Mailbox: p.mailbox, Sender: p.sender}
	for _, f := range change {
		f(&config)
	}
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	return deadletter.Requeue(ctx, config)
}

// mustRequeue requires that so many letters were requeued and nothing else was chosen.
func (p *post) mustRequeue(n int, change ...func(*deadletter.Config)) {
	p.t.Helper()
	report, err := p.requeue(change...)
	require.NoError(p.t, err)
	require.Equal(p.t, n, report.Outcomes[deadletter.Requeued])
	require.Equal(p.t, n, report.Chosen)
}

// arrived is the event ids that the topic holds, with how often.
func (p *post) arrived(topic string) map[string]int {
	p.t.Helper()
	counts := map[string]int{}
	for _, record := range p.broker.Records(p.t, topic) {
		id, _ := record.Header(delivery.UUIDHeader)
		counts[id]++
	}
	return counts
}

// requireOnce requires the events 0 to n-1, each once.
func (p *post) requireOnce(n int) {
	p.t.Helper()
	arrived := p.arrived(orders)
	require.Len(p.t, arrived, n)
	for id, count := range arrived {
		require.Equal(p.t, 1, count, id)
	}
}

// unsettled is how many letters are listed.
func (p *post) unsettled() (n int) {
	p.t.Helper()
	require.NoError(p.t, deadletter.List(p.t.Context(), p.mailbox, deadletter.Filter{}, false, func(deadletter.Letter, bool) error {
		n++
		return nil
	}))
	return n
}
