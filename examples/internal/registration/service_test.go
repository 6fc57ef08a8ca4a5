package registration_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/envelopes"
	. "github.com/tailrace-go/tailrace/examples/internal/registration"
)

func TestMain(m *testing.M) { bustest.Main(m) }

func TestRegister(t *testing.T) {
	t.Parallel()
	db, _ := bustest.Postgres(t) // real, and this test's own
	_, err := outbox.Migrate(t.Context(), db, outbox.MigrateConfig{})
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), Schema)
	require.NoError(t, err)
	b, err := bus.New(bus.Config{Service: "user-service", DB: db})
	require.NoError(t, err)
	service, events := Service{Bus: b}, bustest.OutboxOf(t, db)

	ada := User{Email: "ada@example.com"}
	require.NoError(t, service.Register(t.Context(), "user-1", ada))
	bustest.RequireExactly(t, events,
		bustest.Like(UserCreated.New("user-1", ada)).On("user-service.user.user_created"),
		bustest.Like(envelopes.Audit{Action: "register", ResourceID: "user-1"}))

	require.Error(t, service.Register(t.Context(), "user-2", ada), "the address is taken")
	bustest.RequireNone(t, events, bustest.Like(envelopes.Domain{AggregateID: "user-2"}))
}
