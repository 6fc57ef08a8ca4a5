// Package mailbox hands values to a goroutine without making those who have them wait.
package mailbox

import "sync"

// Mailbox takes values from any goroutine without making it wait, for one goroutine that collects them.
type Mailbox[T any] struct {
	// Ready has a value while something may be waiting.
	Ready chan struct{}

	mu     sync.Mutex
	values []T
}

// New returns an empty mailbox.
func New[T any]() *Mailbox[T] { return &Mailbox[T]{Ready: make(chan struct{}, 1)} }

// Put adds a value.
func (m *Mailbox[T]) Put(value T) {
	m.mu.Lock()
	m.values = append(m.values, value)
	m.mu.Unlock()
	select {
	case m.Ready <- struct{}{}:
	default:
	}
}

// Take returns the values that were put since the last call, in order.
func (m *Mailbox[T]) Take() []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	values := m.values
	m.values = nil
	return values
}
