// Package registration is a service to be tested: service_test.go is all that its test needs, and
// docs/testing.md explains it.
package registration

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/envelopes"
)

// Schema is the service's own tables.
const Schema = `CREATE TABLE users (id text PRIMARY KEY, email text NOT NULL UNIQUE)`

// User is what the service says of a user.
type User struct {
	Email string `json:"email"`
}

// UserCreated says that there is a new user.
var UserCreated = bus.Define[User]("user", "user_created")

// Service registers users.
type Service struct{ Bus *bus.Bus }

// Register makes a user, says so and leaves an audit trail, all of it or nothing.
func (s Service) Register(ctx context.Context, id string, user User) error {
	return s.Bus.Transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := s.Bus.PublishAll(ctx,
			UserCreated.New(id, user),
			envelopes.Audit{EventType: envelopes.DataCreated, Action: "register", ResourceType: "user", ResourceID: id})
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO users (id, email) VALUES ($1, $2)`, id, user.Email); err != nil {
			return fmt.Errorf("register: %w", err)
		}
		return nil
	})
}
