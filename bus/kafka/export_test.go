package kafka

import (
	"maps"
	"slices"
)

// Topics are those that the sender knows.
func (s *Sender) Topics() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.topics))
}
