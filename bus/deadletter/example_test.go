package deadletter_test

import (
	"context"
	"fmt"

	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/delivery"
)

// One letter, that stands for the dead-letter topic in the example: kafka.NewMailbox is the real one.
type exampleMailbox struct{ committed int64 }

func (m *exampleMailbox) Partitions(context.Context) ([]deadletter.Partition, error) {
	return []deadletter.Partition{{End: 1, Committed: m.committed}}, nil
}

func (m *exampleMailbox) Read(_ context.Context, _ int32, from, _ int64, yield func(deadletter.Record) error) error {
	if from > 0 {
		return nil
	}
	return yield(deadletter.Record{Key: []byte("ada"), Value: []byte(`{}`), Headers: []delivery.Header{
		{Key: delivery.UUIDHeader, Value: []byte("event-1")},
		{Key: deadletter.HeaderSource, Value: []byte(deadletter.SourceConsumer)},
		{Key: deadletter.HeaderTopic, Value: []byte("marty.users")},
		{Key: deadletter.HeaderReason, Value: []byte("no such mailbox")},
		{Key: deadletter.HeaderHandler, Value: []byte("welcome")},
	}})
}

func (m *exampleMailbox) Commit(_ context.Context, _ int32, offset int64, _ string) error {
	m.committed = offset
	return nil
}

// exampleSender stands for kafka.NewSender.
type exampleSender struct {
	report func([]*delivery.Record, delivery.Verdict)
}

func (s *exampleSender) Stream(config delivery.StreamConfig) delivery.Stream {
	s.report = config.Report
	return s
}

func (s *exampleSender) Send(records []*delivery.Record) {
	fmt.Printf("sent to %s, key %s\n", records[0].Topic, records[0].Key)
	s.report(records, delivery.Verdict{})
}

func (s *exampleSender) Close() {}

// The letters of one handler go back, now that its mistake is mended.
func ExampleRequeue() {
	mailbox := &exampleMailbox{committed: -1}
	for range 2 {
		report, err := deadletter.Requeue(context.Background(), deadletter.Config{
			Mailbox: mailbox,
			Sender:  &exampleSender{},
			Filter:  deadletter.Filter{Handler: "welcome"},
		})
		fmt.Println("requeued:", report.Outcomes[deadletter.Requeued], err)
	}
	// Output:
	// sent to marty.users, key ada
	// requeued: 1 <nil>
	// requeued: 0 <nil>
}

func ExampleList() {
	mailbox := &exampleMailbox{committed: -1}
	_ = deadletter.List(context.Background(), mailbox, deadletter.Filter{}, false, func(l deadletter.Letter, _ bool) error {
		fmt.Printf("%s of %s died in %s: %s\n", l.EventID, l.Topic, l.Handler, l.Reason)
		return nil
	})
	// Output: event-1 of marty.users died in welcome: no such mailbox
}

// A letter that nobody needs is settled without being sent.
func ExampleDiscard() {
	mailbox := &exampleMailbox{committed: -1}
	report, _ := deadletter.Discard(context.Background(), deadletter.Config{Mailbox: mailbox})
	fmt.Println("discarded:", report.Outcomes[deadletter.Discarded])
	// Output: discarded: 1
}
