package consumer

import "github.com/ThreeDotsLabs/watermill/message"

// Shared returns pub with a Close that does nothing. A router closes the publisher of each of its
// handlers when that handler stops, so a publisher that others use too must be wrapped before it is
// given to Router.AddHandler. The chain's own dead-letter publisher needs no wrapping.
func Shared(pub message.Publisher) message.Publisher { return shared{pub} }

type shared struct{ message.Publisher }

func (shared) Close() error { return nil }
