package cqrs_test

import (
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	wmcqrs "github.com/ThreeDotsLabs/watermill/components/cqrs"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/cqrs"
)

type nowhere struct{}

func (nowhere) Publish(string, ...*message.Message) error { return nil }
func (nowhere) Close() error                              { return nil }

// BenchmarkPublish compares an EventBus of ours with a Bus, and with an EventBus that sends bare JSON.
func BenchmarkPublish(b *testing.B) {
	events, err := bus.New(bus.Config{Service: "user-service", Topics: naming, Publisher: nowhere{}})
	require.NoError(b, err)
	m, err := cqrs.New(cqrs.Config{Bus: events, Registry: registry()})
	require.NoError(b, err)
	eventBus, err := m.EventBus()
	require.NoError(b, err)
	bare, err := wmcqrs.NewEventBusWithConfig(nowhere{}, wmcqrs.EventBusConfig{
		GeneratePublishTopic: func(wmcqrs.GenerateEventPublishTopicParams) (string, error) { return "users", nil },
		Marshaler:            wmcqrs.JSONMarshaler{NewUUID: watermill.NewUUID},
	})
	require.NoError(b, err)
	user := User{ID: "user-123", Email: "user@example.com", Role: "customer", CreatedAt: "2024-01-01T00:00:00Z"}
	known := bus.WithMetadata(b.Context(), bus.Metadata{CorrelationID: "request-1", UserID: "admin-1"})

	for name, publish := range map[string]func() error{
		"bus":                     func() error { _, err := userCreated.Publish(b.Context(), events, user.ID, user); return err },
		"bus with metadata":       func() error { _, err := userCreated.Publish(known, events, user.ID, user); return err },
		"event bus":               func() error { return eventBus.Publish(b.Context(), user) },
		"event bus with metadata": func() error { return eventBus.Publish(known, user) },
		"bare JSON event bus":     func() error { return bare.Publish(b.Context(), user) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := publish(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
