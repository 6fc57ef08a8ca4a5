package decorators_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/decorators"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/topics"
)

func TestMain(m *testing.M) { bustest.Main(m) }

// user is the input and the result of most functions here.
type user struct {
	ID       string `json:"user_id"`
	Email    string `json:"email,omitempty"`
	Password string `json:"password,omitempty"`
}

func inputID(in user) string                         { return in.ID }
func eitherID(in user, out *user) string             { return in.ID }
func resultID(_ user, out *user) string              { return out.ID }
func echo(_ context.Context, in user) (*user, error) { return &in, nil }

var errRefused = errors.New("refused")

func refuse(context.Context, user) (*user, error) { return nil, errRefused }

// testBundle is a Decorator and what shows what it does.
type testBundle struct {
	*decorators.Decorator
	bus      *bus.Bus
	metrics  *prometheus.Registry
	recorder *bustest.Recorder
	db       *sql.DB
	log      *logged
}

// logged is a log that a test may read while it is written.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// direct decorates over a recorder.
func direct(t testing.TB, change ...func(*decorators.Config)) *testBundle {
	t.Helper()
	r := &bustest.Recorder{}
	b, err := bus.New(bus.Config{Service: "user-service", Topics: topics.Naming{Prefix: "marty"}, Publisher: r})
	require.NoError(t, err)
	bundle := decorate(t, b, change...)
	bundle.recorder = r
	return bundle
}

// outboxed decorates over an outbox in a database of the test's own, with a pool of so many connections.
func outboxed(t testing.TB, pool int, change ...func(*decorators.Config)) *testBundle {
	t.Helper()
	db, _ := bustest.Postgres(t)
	_, err := outbox.Migrate(t.Context(), db, outbox.MigrateConfig{})
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), `CREATE TABLE users (id text PRIMARY KEY)`)
	require.NoError(t, err)
	db.SetMaxOpenConns(pool)
	b, err := bus.New(bus.Config{Service: "user-service", Topics: topics.Naming{Prefix: "marty"}, DB: db})
	require.NoError(t, err)
	bundle := decorate(t, b, change...)
	bundle.db = db
	return bundle
}

func decorate(t testing.TB, b *bus.Bus, change ...func(*decorators.Config)) *testBundle {
	t.Helper()
	bundle := &testBundle{bus: b, metrics: prometheus.NewRegistry(), log: &logged{}}
	// Nothing here is to fail for a machine that is busy.
	config := decorators.Config{Bus: b, Timeout: time.Minute, Metrics: bundle.metrics, Logger: slog.New(slog.NewTextHandler(bundle.log, nil))}
	for _, c := range change {
		c(&config)
	}
	d, err := decorators.New(config)
	require.NoError(t, err)
	bundle.Decorator = d
	return bundle
}

// counted is the sum of one metric.
func (b *testBundle) counted(t testing.TB, name string) int {
	t.Helper()
	families, err := b.metrics.Gather()
	require.NoError(t, err)
	sum := 0.0
	for _, family := range families {
		if family.GetName() == name {
			for _, metric := range family.GetMetric() {
				sum += metric.GetCounter().GetValue()
			}
		}
	}
	return int(sum)
}

const (
	unpublished = "tailrace_decorators_unpublished_events_total"
	incomplete  = "tailrace_decorators_incomplete_events_total"
)

// row is an event as the outbox has it.
type row struct {
	topic, headers string
	key            sql.NullString
	envelope       envelopes.Envelope
	text           string
}

func (b *testBundle) rows(t testing.TB) []row {
	t.Helper()
	// The test's own context may have ended, and the pool may be one.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	found, err := b.db.QueryContext(ctx, `SELECT topic, coalesce(headers::text, ''), key, payload FROM event_outbox ORDER BY id`)
	require.NoError(t, err)
	defer found.Close()
	var rows []row
	for found.Next() {
		var r row
		var payload []byte
		require.NoError(t, found.Scan(&r.topic, &r.headers, &r.key, &payload))
		r.text = string(payload)
		r.envelope, err = envelopes.Decode(payload)
		require.NoError(t, err)
		rows = append(rows, r)
	}
	require.NoError(t, found.Err())
	return rows
}

func (b *testBundle) eventTypes(t testing.TB) []string {
	t.Helper()
	var types []string
	for _, r := range b.rows(t) {
		types = append(types, r.envelope.EventType)
	}
	return types
}

func (b *testBundle) users(t testing.TB) int {
	t.Helper()
	var n int
	require.NoError(t, b.db.QueryRowContext(context.Background(), `SELECT count(*) FROM users`).Scan(&n))
	return n
}

// only is the one event that the recorder has.
func (b *testBundle) only(t testing.TB) bustest.Published {
	t.Helper()
	events := b.recorder.Events()
	require.Len(t, events, 1)
	require.NoError(t, events[0].Err)
	return events[0]
}

// The specs of most tests.
var (
	auditSpec   = decorators.AuditSpec{EventType: envelopes.DataCreated, Action: "create_user", ResourceType: "user"}
	domainSpec  = decorators.DomainSpec{AggregateType: "user", EventType: "user_created"}
	successSpec = decorators.SuccessSpec{Topic: "auth.events", EventType: "login_successful"}
	errorSpec   = decorators.ErrorSpec{Topic: "auth.events", EventType: "login_failed"}
)
