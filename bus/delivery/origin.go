package delivery

import (
	"context"
	"time"
)

// Origin is the record a consumed message was read from. A subscriber puts it into the message's
// context, so that whoever handles the message needs no broker's client to ask.
type Origin struct {
	Topic     string
	Partition int32
	Offset    int64
	// Key is the record key; nil is a null key.
	Key []byte
	// Group is the consumer group it was read for, "" for none.
	Group string
	// Time is the record's timestamp: when it was sent, not when the event happened.
	Time time.Time
	// RebalanceTimeout is how long the consumer group waits, when its partitions are shared out anew, for
	// a member that is still busy with a message; after that the member is out. Zero: there is no group,
	// or the subscriber does not say.
	RebalanceTimeout time.Duration
}

type originKey struct{}

// WithOrigin returns a context that carries where the message came from.
func WithOrigin(ctx context.Context, origin Origin) context.Context {
	return context.WithValue(ctx, originKey{}, origin)
}

// OriginFrom returns where the message of this context came from, and false if its subscriber does not
// say.
func OriginFrom(ctx context.Context) (Origin, bool) {
	origin, ok := ctx.Value(originKey{}).(Origin)
	return origin, ok
}
