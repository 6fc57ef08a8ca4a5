package bustest

import (
	"slices"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"
)

// PublishFunc is a publisher's Publish.
type PublishFunc func(topic string, messages ...*message.Message) error

// PublisherFault makes faults on the way to a publisher: it returns a function that calls next, or not, or
// says something else of it. Each publisher it is given to has a state of its own.
type PublisherFault func(next PublishFunc) PublishFunc

// WithFaults returns publisher with faults before it, the first one outermost. It is as safe for
// concurrent use as publisher is, and its Close closes publisher.
//
//	publisher := bustest.WithFaults(rec, bustest.Nth(2, bustest.FailWith(errBroker)))
func WithFaults(publisher message.Publisher, faults ...PublisherFault) message.Publisher {
	publish := publisher.Publish
	for _, fault := range slices.Backward(faults) {
		publish = fault(publish)
	}
	return faulty{publisher, publish}
}

type faulty struct {
	message.Publisher

	publish PublishFunc
}

func (f faulty) Publish(topic string, messages ...*message.Message) error {
	return f.publish(topic, messages...)
}

// FailWith publishes nothing and returns err.
func FailWith(err error) PublisherFault {
	return func(PublishFunc) PublishFunc {
		return func(string, ...*message.Message) error { return err }
	}
}

// LoseAnswer publishes and returns err all the same, as when the connection breaks before the broker's
// answer: the caller cannot know what became of the messages. An error of the publisher comes first.
func LoseAnswer(err error) PublisherFault {
	return func(next PublishFunc) PublishFunc {
		return func(topic string, messages ...*message.Message) error {
			if own := next(topic, messages...); own != nil {
				return own
			}
			return err
		}
	}
}

// FailFrom publishes the first n messages of a call and returns err if there are more. Each call has its own
// first.
func FailFrom(n int, err error) PublisherFault {
	return func(next PublishFunc) PublishFunc {
		return func(topic string, messages ...*message.Message) error {
			if len(messages) <= n {
				return next(topic, messages...)
			}
			if n > 0 {
				if own := next(topic, messages[:n]...); own != nil {
					return own
				}
			}
			return err
		}
	}
}

// Hold keeps a call until release is closed or has a value for it, and then lets it pass. It says on
// arrived, unless that is nil, that a call is there: the moment to look at what happens meanwhile.
func Hold(arrived chan<- struct{}, release <-chan struct{}) PublisherFault {
	return func(next PublishFunc) PublishFunc {
		return func(topic string, messages ...*message.Message) error {
			if arrived != nil {
				arrived <- struct{}{}
			}
			<-release
			return next(topic, messages...)
		}
	}
}

// Nth makes the fault in the n-th call only, counted from 1.
func Nth(n int, fault PublisherFault) PublisherFault { return between(n, n, fault) }

// First makes the fault in the first n calls.
func First(n int, fault PublisherFault) PublisherFault { return between(1, n, fault) }

// between counts the calls that reach it.
func between(first, last int, fault PublisherFault) PublisherFault {
	return func(next PublishFunc) PublishFunc {
		var calls atomic.Int64
		broken := fault(next)
		return func(topic string, messages ...*message.Message) error {
			if n := calls.Add(1); n >= int64(first) && n <= int64(last) {
				return broken(topic, messages...)
			}
			return next(topic, messages...)
		}
	}
}

// OnTopic makes the fault in calls to that topic, complete with prefix.
func OnTopic(topic string, fault PublisherFault) PublisherFault {
	return If(func(to string, _ []*message.Message) bool { return to == topic }, fault)
}

// If makes the fault in calls for which the condition holds.
func If(condition func(topic string, messages []*message.Message) bool, fault PublisherFault) PublisherFault {
	return func(next PublishFunc) PublishFunc {
		broken := fault(next)
		return func(topic string, messages ...*message.Message) error {
			if condition(topic, messages) {
				return broken(topic, messages...)
			}
			return next(topic, messages...)
		}
	}
}
