// The blocks of docs/testing.md have these around them.
package doc

import "testing"

type User struct {
	Email string `json:"email"`
}

var UserCreated = bus.Define[User]("user", "user_created")

var (
	t      *testing.T
	b      *bus.Bus
	rec    *bustest.Recorder
	events bustest.Source
	done   chan error
)

func Welcome(ctx context.Context, b *bus.Bus, id string) error {
	_, err := b.PublishNotification(ctx, envelopes.Notification{
		EventType: envelopes.UserWelcome, RecipientType: envelopes.RecipientUser, RecipientIDs: []string{id}, Message: "Welcome",
	})
	return err
}
