package kafka

import (
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// PublishError says what became of the messages of a call of Publish that are not known to have been
// delivered. All others were delivered.
type PublishError struct {
	Topic string
	// Failures are in the order of the messages, at least one.
	Failures []PublishFailure
	// Messages is how many the call had.
	Messages int
}

// PublishFailure is a message that is not known to have been delivered.
type PublishFailure struct {
	// Index of the message in the call, and its UUID.
	Index int
	UUID  string
	// Fault says whose fault it is. With [delivery.Transport] the message may have been delivered, or may
	// yet be; with any other it was not and will not be.
	Fault delivery.Fault
	Err   error
}

// Unknown reports whether a message of the call may have been delivered after all: to publish it again
// can deliver it twice.
func (e *PublishError) Unknown() bool {
	for _, failure := range e.Failures {
		if failure.Fault == delivery.Transport {
			return true
		}
	}
	return false
}

// Fault says whose fault the first failure is that is not the consequence of another.
func (e *PublishError) Fault() delivery.Fault { return e.first().Fault }

// ErrorType is whose fault it is, as the error.type of a span has it (OpenTelemetry): transport, topic, record
// or withheld.
func (e *PublishError) ErrorType() string { return e.Fault().String() }

func (e *PublishError) first() PublishFailure {
	for _, failure := range e.Failures {
		if failure.Fault != delivery.Withheld {
			return failure
		}
	}
	return e.Failures[0]
}

// Error names the first failure that is not the consequence of another.
func (e *PublishError) Error() string {
	first := e.first()
	verb := "was not delivered"
	if first.Fault == delivery.Transport {
		verb = "may not have been delivered"
	}
	return fmt.Sprintf("kafka: publishing to %q: %d of %d messages failed; message %s %s (%s): %v",
		e.Topic, len(e.Failures), e.Messages, first.UUID, verb, first.Fault, first.Err)
}

// Unwrap returns the failures' errors.
func (e *PublishError) Unwrap() []error {
	errs := make([]error, 0, len(e.Failures))
	for i, failure := range e.Failures {
		if failure.Err != nil && (i == 0 || failure.Fault != delivery.Withheld) {
			errs = append(errs, failure.Err)
		}
	}
	return errs
}

// publishError collects the failures, of which of(i) tells; it is nil when there are none.
func publishError(topic string, messages []*message.Message, of func(int) (delivery.Verdict, bool)) error {
	var failures []PublishFailure
	for i, msg := range messages {
		if verdict, failed := of(i); failed {
			failures = append(failures, PublishFailure{Index: i, UUID: msg.UUID, Fault: verdict.Fault, Err: verdict.Err})
		}
	}
	if failures == nil {
		return nil
	}
	return &PublishError{Topic: topic, Failures: failures, Messages: len(messages)}
}
