package consumer

import (
	"fmt"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/envelopes"
)

// Unknown says what [Dispatch] does with an event type that none of its routes handles.
type Unknown uint8

const (
	// DeadLetterUnknown sends the message to the dead letters, at once.
	DeadLetterUnknown Unknown = iota
	// SkipUnknown acks the message: this consumer only wants some of the topic's events.
	SkipUnknown
	// FailUnknown keeps the message, and with it its partition, until a consumer that knows the type is
	// deployed: no event of the topic may be missed or overtaken.
	FailUnknown
)

// Route is a handler for one event type: see [On] and [OnType].
type Route struct {
	aggregate, eventType string
	handle               message.NoPublishHandlerFunc
}

// OnType routes an event type to a handler, for instance
//
//	consumer.OnType(envelopes.UserLogin, consumer.Audit(handleLogin))
//
// The type is the envelope's, upper and lower case being the same, as in topics. An empty type is a programming mistake and panics.
func OnType[S ~string](eventType S, handle message.NoPublishHandlerFunc) Route {
	return newRoute("", string(eventType), handle)
}

func newRoute(aggregate, eventType string, handle message.NoPublishHandlerFunc) Route {
	if eventType == "" || handle == nil {
		panic("consumer: a route needs an event type and a handler")
	}
	return Route{strings.ToLower(aggregate), strings.ToLower(eventType), handle}
}

type routeKey struct{ aggregate, eventType string }

// Dispatch returns one router handler for a topic that carries several event types. Two routes for the
// same type are a programming mistake and panic, as two patterns of an http.ServeMux do. A message that
// is no event at all is an error that wraps envelopes.ErrInvalid, whatever is done with unknown types;
// the error for an unknown type is ErrUnknownType.
func Dispatch(unknown Unknown, routes ...Route) message.NoPublishHandlerFunc {
	table := make(map[routeKey]message.NoPublishHandlerFunc, len(routes))
	typed := map[string]bool{} // event types for which the aggregate decides
	for _, route := range routes {
		key := routeKey{route.aggregate, route.eventType}
		if table[key] != nil {
			panic(fmt.Sprintf("consumer: two routes for event type %q of aggregate %q: keep one", route.eventType, route.aggregate))
		}
		table[key] = route.handle
		typed[route.eventType] = typed[route.eventType] || route.aggregate != ""
	}
	return func(msg *message.Message) error {
		outer := msg.Context()
		ctx, letter := open(msg)
		if letter.err != nil {
			return letter.err
		}
		msg.SetContext(ctx) // the route finds the envelope in it, decoded
		defer msg.SetContext(outer)

		key := routeKey{eventType: strings.ToLower(letter.envelope.EventType)}
		if typed[key.eventType] {
			payload, err := envelopes.PayloadAs[struct {
				AggregateType string `json:"aggregate_type"`
			}](letter.envelope)
			if err == nil {
				key.aggregate = strings.ToLower(payload.AggregateType)
			}
		}
		handle := table[key]
		if handle == nil {
			handle = table[routeKey{eventType: key.eventType}]
		}
		if handle == nil {
			if unknown == SkipUnknown {
				Note(ctx, Ignored)
			}
			return unknown.verdict(letter.envelope.EventType)
		}
		return handle(msg)
	}
}

func (u Unknown) verdict(eventType string) error {
	err := fmt.Errorf("consumer: %w: %q: add a route for it, or dispatch with SkipUnknown", ErrUnknownType, eventType)
	switch u {
	case SkipUnknown:
		return nil
	case FailUnknown:
		return Outage(err)
	default:
		return Permanent(err)
	}
}
