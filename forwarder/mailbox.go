package forwarder

import "sync"

// mailbox takes values from any goroutine without making it wait, for one goroutine that collects them.
type mailbox[T any] struct {
	mu     *sync.Mutex
	values *[]T
	// ready has a value while something may be waiting.
	ready chan struct{}
}

func newMailbox[T any]() mailbox[T] {
	return mailbox[T]{mu: new(sync.Mutex), values: new([]T), ready: make(chan struct{}, 1)}
}

func (m mailbox[T]) put(value T) {
	m.mu.Lock()
	*m.values = append(*m.values, value)
	m.mu.Unlock()
	select {
	case m.ready <- struct{}{}:
	default:
	}
}

func (m mailbox[T]) take() []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	values := *m.values
	*m.values = nil
	return values
}
