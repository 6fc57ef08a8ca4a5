package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/topics"
)

// Registered is what happened.
type Registered struct {
	Email string `json:"email"`
}

var UserRegistered = bus.Define[Registered]("user", "registered")

// pubsub stands for Kafka in the examples.
func pubsub() *gochannel.GoChannel {
	return gochannel.NewGoChannel(gochannel.Config{Persistent: true}, watermill.NopLogger{})
}

// The chain in one line, and a typed handler that fails once.
func Example() {
	channel, naming := pubsub(), topics.Naming{Prefix: "marty"}
	events, _ := bus.New(bus.Config{Service: "users", Topics: naming, Publisher: channel})
	_, _ = UserRegistered.Publish(context.Background(), events, "user-1", Registered{Email: "ada@example.com"})

	router := message.NewDefaultRouter(watermill.NopLogger{})
	router.AddPlugin(consumer.Plugin(consumer.Config{
		DeadLetter: consumer.DeadLetterConfig{Publisher: channel, Naming: naming},
		Retry:      consumer.RetryConfig{InitialInterval: time.Millisecond},
	}))
	topic, _ := UserRegistered.Topic(naming, "users")
	done := make(chan struct{})
	consumer.Add(router, "welcome", channel, topic,
		consumer.Handle(UserRegistered, func(_ context.Context, event consumer.Event[Registered]) error {
			if event.Meta.Attempt == 1 {
				return errors.New("mail server busy")
			}
			fmt.Printf("welcome %s <%s>, attempt %d\n", event.AggregateID, event.Data.Email, event.Meta.Attempt)
			close(done)
			return nil
		}))
	go func() { _ = router.Run(context.Background()) }()
	<-done
	_ = router.Close()
	// Output: welcome user-1 <ada@example.com>, attempt 2
}

// A message that can never be handled is copied to the dead-letter topic, with the reason.
func ExampleDeadLetter() {
	channel := pubsub()
	letters, _ := channel.Subscribe(context.Background(), "dead.letter.queue")
	deadLetter, _ := consumer.DeadLetter(consumer.DeadLetterConfig{Publisher: channel})

	handler := deadLetter(func(*message.Message) ([]*message.Message, error) {
		return nil, consumer.Permanent(errors.New("no such account"))
	})
	_, err := handler(message.NewMessage("1", []byte("{}")))
	fmt.Println("to be acked:", err == nil)

	letter := <-letters
	letter.Ack()
	fmt.Println(letter.UUID, letter.Metadata.Get(deadletter.HeaderReason))
	// Output:
	// to be acked: true
	// 1 no such account
}

func ExampleRetry() {
	retry, _ := consumer.Retry(consumer.RetryConfig{MaxRetries: 2, InitialInterval: time.Millisecond})
	handler := retry(func(msg *message.Message) ([]*message.Message, error) {
		fmt.Println("attempt", consumer.Attempt(msg.Context()))
		return nil, errors.New("not yet")
	})
	_, err := handler(message.NewMessage("1", nil))
	fmt.Println(err)
	// Output:
	// attempt 1
	// attempt 2
	// attempt 3
	// not yet
}

// An outage is not the message's fault: it is kept for as long as the outage lasts.
func ExampleOutage() {
	deadLetter, _ := consumer.DeadLetter(consumer.DeadLetterConfig{Publisher: pubsub()})
	handler := deadLetter(func(*message.Message) ([]*message.Message, error) {
		return nil, consumer.Outage(errors.New("database is starting up"))
	})
	_, err := handler(message.NewMessage("1", nil))
	fmt.Println("nacked:", err)
	// Output: nacked: database is starting up
}

func ExampleTimeout() {
	handler := consumer.Timeout(time.Millisecond)(func(msg *message.Message) ([]*message.Message, error) {
		<-msg.Context().Done()
		return nil, msg.Context().Err()
	})
	_, err := handler(message.NewMessage("1", nil))
	fmt.Println(err)
	// Output: consumer: attempt timed out after 1ms: context deadline exceeded
}

func ExampleRecoverer() {
	handler := consumer.Recoverer(func(*message.Message) ([]*message.Message, error) { panic("out of reach") })
	_, err := handler(message.NewMessage("1", nil))
	fmt.Println(err)
	// Output: consumer: handler panicked: out of reach
}

// What a handler publishes continues the chain of the event it handles.
func ExampleCorrelation() {
	handle := consumer.Domain(func(ctx context.Context, event envelopes.Domain, _ consumer.Meta) error {
		inherited := bus.MetadataFrom(ctx) // a Bus completes events with it
		fmt.Println(inherited.CorrelationID, "caused by", inherited.CausationID == event.Metadata.EventID)
		return nil
	})
	_ = handle(sample("registered"))
	// Output: request-1 caused by true
}

// Several event types on one topic.
func ExampleDispatch() {
	handle := consumer.Dispatch(consumer.SkipUnknown,
		consumer.On(UserRegistered, func(_ context.Context, event consumer.Event[Registered]) error {
			fmt.Println("registered", event.Data.Email)
			return nil
		}),
		consumer.OnType("closed", consumer.Domain(func(_ context.Context, event envelopes.Domain, _ consumer.Meta) error {
			fmt.Println("closed", event.AggregateID)
			return nil
		})),
	)
	_ = handle(sample("registered"))
	_ = handle(sample("renamed")) // skipped
	_ = handle(sample("closed"))
	// Output:
	// registered ada@example.com
	// closed user-1
}

// A publisher that others use too must survive the handler that it is given to.
func ExampleShared() {
	channel := pubsub()
	_ = consumer.Shared(channel).Close()
	fmt.Println(channel.Publish("t", message.NewMessage("1", nil)))
	// Output: <nil>
}

// sample is a consumed message.
func sample(eventType string) *message.Message {
	payload, _ := envelopes.Encode(envelopes.Domain{
		Metadata: envelopes.Metadata{
			EventID: "1", Timestamp: time.Now(), ServiceName: "users", CorrelationID: "request-1",
		},
		AggregateType: "user", AggregateID: "user-1", EventType: eventType,
		EventData: Registered{Email: "ada@example.com"},
	})
	return message.NewMessage("1", payload)
}

// What becomes of a message is the error's to say, and Classify's for errors that nobody can wrap.
func ExampleDrop() {
	outlet := pubsub()
	expired, _ := consumer.DeadLetter(consumer.DeadLetterConfig{Publisher: outlet})
	handler := expired(func(*message.Message) ([]*message.Message, error) {
		return nil, consumer.Drop(errors.New("the offer has expired"))
	})
	_, err := handler(message.NewMessage("1", nil))
	fmt.Println("to be acked:", err == nil)
	// Output: to be acked: true
}

func ExampleRetryConfig_classify() {
	errUnique := errors.New("duplicate key") // a driver's
	retry, _ := consumer.Retry(consumer.RetryConfig{Classify: func(err error) consumer.Decision {
		if errors.Is(err, errUnique) {
			return consumer.DecideDeadLetter
		}
		return consumer.DecideByDefault
	}})
	handler := retry(func(msg *message.Message) ([]*message.Message, error) {
		fmt.Println("attempt", consumer.Attempt(msg.Context()))
		return nil, errUnique
	})
	_, err := handler(message.NewMessage("1", nil))
	fmt.Println(err)
	// Output:
	// attempt 1
	// duplicate key
}
