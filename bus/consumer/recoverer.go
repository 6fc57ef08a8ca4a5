package consumer

import (
	"fmt"
	"runtime/debug"

	"github.com/ThreeDotsLabs/watermill/message"
)

// PanicError is a handler's panic as an error. Its text has no stack, which would fill the header of a
// dead letter and every log line; the chain logs Stack once, when the message is given up.
type PanicError struct {
	// Value is what the handler panicked with.
	Value any
	// Stack is the goroutine's stack at the panic, as debug.Stack prints it.
	Stack []byte
}

// Error returns the panic's value as text.
func (p *PanicError) Error() string { return fmt.Sprintf("consumer: handler panicked: %v", p.Value) }

// Unwrap returns the value if it is an error.
func (p *PanicError) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// Recoverer turns a handler's panic into a [PanicError]. It belongs inside [Retry], where a panic is one
// failed attempt; outside, it would end all of them.
//
// Watermill's own Recoverer has the stack, and the value in Go syntax, in its error's text.
func Recoverer(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) (produced []*message.Message, err error) {
		defer func() {
			if value := recover(); value != nil {
				produced, err = nil, &PanicError{Value: value, Stack: debug.Stack()}
			}
		}()
		return next(msg)
	}
}
