// Package labels bounds the values of metrics' labels.
package labels

import "sync"

// Topics are the topics that have a label value of their own. It is safe for concurrent use.
type Topics struct {
	mu    sync.Mutex
	names map[string]struct{}
}

// maxTopics bounds the label's values: topics may be named by data.
const maxTopics = 200

// New returns an empty set.
func New() *Topics { return &Topics{names: map[string]struct{}{}} }

// Label returns the topic's label value, and whether it is asked for the first time.
func (t *Topics) Label(topic string) (label string, first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.names[topic]; known {
		return topic, false
	}
	if len(t.names) >= maxTopics {
		return "other", false
	}
	t.names[topic] = struct{}{}
	return topic, true
}
