package main

import (
	"context"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/cqrs"
	"github.com/tailrace-go/tailrace/envelopes"
)

// user and renaming are what domain events carry, view what a custom one does.
type (
	user     struct{ Email string }
	renaming struct{ ID, Name string }
	view     struct{ Page string }
)

var (
	userCreated = bus.Define[user]("user", "user_created")
	userRenamed = bus.Define[renaming]("user", "user_renamed")
)

// activity is a topic of our own, with several types on it.
const (
	activity   = "activity"
	pageViewed = "page_viewed"
	cartFilled = "cart_filled"
	couponUsed = "coupon_used"
)

var people = []string{"user-1", "user-2", "user-3"}

// publish publishes an event of each kind, as requests of one visit.
func (s *service) publish(ctx context.Context) error {
	ctx = bus.WithMetadata(ctx, bus.Metadata{CorrelationID: "visit-1"})
	for _, id := range people {
		_, err := s.bus.PublishAll(ctx,
			envelopes.Audit{EventType: envelopes.UserLogin, Action: "login", ResourceType: "user", ResourceID: id},
			userCreated.New(id, user{Email: id + "@example.com"}))
		if err != nil {
			return err
		}
	}
	for _, eventType := range []string{pageViewed, cartFilled, couponUsed, pageViewed} { // of one key, so in this order
		_, err := s.bus.PublishCustom(ctx, envelopes.Custom{Topic: activity, Key: "user-1", EventType: eventType, Payload: view{Page: "/tea"}})
		if err != nil {
			return err
		}
	}
	events, err := s.marshaler.EventBus() // Watermill's cqrs.EventBus
	if err != nil {
		return err
	}
	return events.Publish(ctx, &renaming{ID: "user-1", Name: "Ada"})
}

// registry says which Go type is which event, for Watermill's CQRS component.
func registry() *cqrs.Registry {
	r := cqrs.NewRegistry()
	cqrs.Register(r, userRenamed, func(e renaming) string { return e.ID })
	return r
}
