package bus_test

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/topics"
)

var noon = time.Date(2024, 7, 15, 12, 0, 0, 123456789, time.UTC)

// sent is one message as a publisher got it; call counts the calls of Publish.
type sent struct {
	topic string
	call  int
	msg   *message.Message
}

// recorder is a Publisher, and an Outbox, that remembers.
type recorder struct {
	mu    sync.Mutex
	calls int
	all   []sent
	tx    []bus.Tx
	ctx   []context.Context
	fail  map[string]error
	// refuse is what writing to the outbox fails with.
	refuse error
}

func (r *recorder) Publish(topic string, msgs ...*message.Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.fail[topic]; err != nil {
		return err
	}
	for _, msg := range msgs {
		r.all = append(r.all, sent{topic, r.calls, msg})
	}
	r.calls++
	return nil
}

func (r *recorder) Close() error { return errors.New("a bus closes nothing") }

func (r *recorder) Write(ctx context.Context, tx bus.Tx, names []string, msgs []*message.Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse != nil {
		return r.refuse
	}
	for i, msg := range msgs {
		r.all = append(r.all, sent{names[i], r.calls, msg})
	}
	r.tx, r.ctx = append(r.tx, tx), append(r.ctx, ctx)
	r.calls++
	return nil
}

func (r *recorder) Republish(ctx context.Context, tx bus.Tx, names []string, msgs []*message.Message) (int64, error) {
	return int64(len(msgs)), r.Write(ctx, tx, names, msgs)
}

func (r *recorder) only(t *testing.T) (string, envelopes.Envelope, *message.Message) {
	t.Helper()
	require.Len(t, r.all, 1)
	envelope, err := envelopes.Decode(r.all[0].msg.Payload)
	require.NoError(t, err)
	return r.all[0].topic, envelope, r.all[0].msg
}

// direct returns a Bus of the user service without an outbox.
func direct(t testing.TB, change ...func(*bus.Config)) (*bus.Bus, *recorder) {
	t.Helper()
	r := &recorder{}
	config := bus.Config{
		Service: "user-service", Topics: topics.Naming{Prefix: "marty"}, Publisher: r,
		Clock: func() time.Time { return noon },
	}
	for _, c := range change {
		c(&config)
	}
	b, err := bus.New(config)
	require.NoError(t, err)
	return b, r
}

func userCreated(id string) envelopes.Domain {
	return envelopes.Domain{AggregateType: "user", AggregateID: id, EventType: "user_created", EventData: map[string]string{"email": "user@example.com"}}
}

func loggedIn() envelopes.Audit {
	return envelopes.Audit{EventType: envelopes.UserLogin, Action: "login", ResourceType: "session"}
}

func welcome(recipients ...string) envelopes.Notification {
	return envelopes.Notification{
		EventType: envelopes.UserWelcome, RecipientType: envelopes.RecipientUser, RecipientIDs: recipients,
		Subject: "Welcome", Message: "Hello",
	}
}

// unopened is a transaction that a Bus without a real database may hold, but not use.
func unopened(t testing.TB) *sql.Tx {
	t.Helper()
	return new(sql.Tx)
}
