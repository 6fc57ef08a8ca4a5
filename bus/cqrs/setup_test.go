package cqrs_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wmcqrs "github.com/ThreeDotsLabs/watermill/components/cqrs"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/cqrs"
	"github.com/tailrace-go/tailrace/topics"
)

const patience = 30 * time.Second

// User is the event_data of the older publisher's own example.
type User struct {
	ID        string `json:"-"`
	Email     string `json:"email"`
	Role      string `json:"role"`
	CreatedAt string `json:"created_at"`
}

// Rename and Removal share a topic.
type (
	Rename struct {
		User string `json:"user"`
		Name string `json:"name"`
	}
	Removal struct {
		User string `json:"user"`
	}
)

// Shipped says itself what it is.
type Shipped struct {
	Order string `json:"order"`
	Boxes int    `json:"boxes"`
}

func (*Shipped) AggregateType() string { return "Order" }
func (s *Shipped) AggregateID() string { return s.Order }
func (*Shipped) EventType() string     { return "Shipped" }

type stranger struct{}

var (
	userCreated = bus.Define[User]("user", "user_created")
	userRenamed = bus.Define[Rename]("user", "Renamed")
	userRemoved = bus.Define[Removal]("user", "removed")
)

func registry(options ...cqrs.Option) *cqrs.Registry {
	r := cqrs.NewRegistry()
	cqrs.Register(r, userCreated, func(e User) string { return e.ID }, options...)
	shared := append([]cqrs.Option{cqrs.OnTopic("users")}, options...)
	cqrs.Register(r, userRenamed, func(e Rename) string { return e.User }, shared...)
	cqrs.Register(r, userRemoved, func(e Removal) string { return e.User }, shared...)
	return r
}

var naming = topics.Naming{Prefix: "marty"}

// overRecorder is a service whose events are recorded.
func overRecorder(t testing.TB) (*cqrs.Marshaler, *wmcqrs.EventBus, *bustest.Recorder) {
	t.Helper()
	recorder := bustest.NewRecorder()
	b, err := bus.New(bus.Config{Service: "user-service", Topics: naming, Publisher: recorder})
	require.NoError(t, err)
	m, err := cqrs.New(cqrs.Config{Bus: b, Registry: registry()})
	require.NoError(t, err)
	events, err := m.EventBus()
	require.NoError(t, err)
	return m, events, recorder
}

func newRouter(t testing.TB) *message.Router {
	t.Helper()
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NopLogger{})
	require.NoError(t, err)
	return router
}

// run runs the router until the test ends, and waits until it runs.
func run(t testing.TB, router *message.Router) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- router.Run(ctx) }()
	t.Cleanup(sync.OnceFunc(func() {
		cancel()
		require.NoError(t, await(t, ended))
	}))
	await(t, router.Running())
}

func await[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(patience):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}
