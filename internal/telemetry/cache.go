package telemetry

import (
	"maps"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

// maxKnown bounds what is kept a topic: topics may be named by data. The forwarder's metrics have the same
// bound.
const maxKnown = 200

// Cache keeps a value a name, for the first 200 names. Reading takes no lock. Its zero value is ready.
type Cache[V any] struct {
	known atomic.Pointer[map[string]V]
	mu    sync.Mutex
}

// Of returns the name's value, made if it is not there yet, and whether it is kept.
func (c *Cache[V]) Of(name string, create func() V) (V, bool) {
	if value, kept, full := c.find(name); kept {
		return value, true
	} else if full {
		return create(), false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	value, kept, full := c.find(name)
	if kept {
		return value, true
	}
	value = create()
	if full {
		return value, false
	}
	next := map[string]V{}
	if known := c.known.Load(); known != nil {
		next = maps.Clone(*known)
	}
	next[name] = value
	c.known.Store(&next)
	return value, true
}

func (c *Cache[V]) find(name string) (value V, kept, full bool) {
	known := c.known.Load()
	if known == nil {
		return value, false, false
	}
	value, kept = (*known)[name]
	return value, kept, len(*known) >= maxKnown
}

// Labels bounds the values of a label. Its zero value is ready.
type Labels struct{ known Cache[bool] }

// Other is the value of a label that has too many.
const Other = "other"

// Of returns the value itself if it is one of the first 200, and [Other] for the rest and for what is not
// UTF-8, at which a collector panics.
func (l *Labels) Of(value string) string {
	if text, kept := l.known.Of(value, func() bool { return utf8.ValidString(value) }); text && kept {
		return value
	}
	return Other
}
