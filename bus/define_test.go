package bus_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/topics"
)

type userCreatedData struct {
	Email string `json:"email"`
	Quota int64  `json:"quota"`
}

var UserCreated = bus.Define[userCreatedData]("User", "UserCreated")

func TestATypedEventThereAndBack(t *testing.T) {
	t.Parallel()
	b, r := direct(t)
	data := userCreatedData{"user@example.com", 1<<53 + 1}
	id, err := UserCreated.Publish(context.Background(), b, "u-1", data,
		bus.WithVersion(3), bus.WithBusinessContext(map[string]string{"campaign": "spring"}),
		bus.WithEventMetadata(envelopes.Metadata{CausationID: "e-0"}),
		func(event *envelopes.Domain) { event.SchemaURL = "https://example.com/schema" })
	require.NoError(t, err)
	topic, envelope, _ := r.only(t)
	require.Equal(t, "marty.user-service.user.usercreated", topic)
	fromName, err := UserCreated.Topic(b.Topics(), b.Service())
	require.NoError(t, err)
	require.Equal(t, topic, fromName)

	got, event, err := UserCreated.Decode(envelope)
	require.NoError(t, err)
	require.Equal(t, data, got, "with every digit")
	require.Equal(t, id, event.Metadata.EventID)
	require.Equal(t, "UserCreated", event.EventType, "the envelope keeps the caller's case")
	require.Equal(t, 3, event.EventVersion)
	require.Equal(t, "e-0", event.Metadata.CausationID)
	require.Equal(t, "https://example.com/schema", event.SchemaURL)
}

func TestATypedEventRefusesAnother(t *testing.T) {
	t.Parallel()
	b, r := direct(t)
	_, err := b.PublishDomain(context.Background(), userCreated("u-1"))
	require.NoError(t, err)
	_, envelope, _ := r.only(t)
	_, _, err = UserCreated.Decode(envelope)
	require.ErrorIs(t, err, bus.ErrOtherEvent)
	_, _, err = bus.Define[userCreatedData]("account", "user_created").Decode(envelope)
	require.ErrorIs(t, err, bus.ErrOtherEvent)
	_, _, err = bus.Define[userCreatedData]("USER", "User_Created").Decode(envelope)
	require.NoError(t, err, "upper and lower case are the same, as in topics")
	_, _, err = bus.Define[struct{ Email int }]("user", "user_created").Decode(envelope)
	require.ErrorIs(t, err, envelopes.ErrInvalid)
	require.ErrorContains(t, err, "payload.event_data.Email is of the JSON type string, which does not fit int")
}

func TestAnIllegalDefinitionIsAnErrorWhenPublishing(t *testing.T) {
	t.Parallel()
	b, _ := direct(t)
	_, err := bus.Define[userCreatedData]("user", "user created").Publish(context.Background(), b, "u-1", userCreatedData{})
	require.ErrorIs(t, err, topics.ErrInvalid)
	_, err = bus.Define[int]("user", "counted").Publish(context.Background(), b, "u-1", 7)
	require.ErrorIs(t, err, envelopes.ErrInvalid)
	require.ErrorContains(t, err, "payload.event_data is a number")
}
