package forwarder_test

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder"
)

// fleet is outboxes in several databases, a broker with a topic for each, and members of a group.
type fleet struct {
	t       testing.TB
	dsns    []string
	dbs     []*sql.DB // the test's own
	broker  *bustest.Broker
	names   []string // of the outboxes; outbox i is in database i % len(dbs)
	writing []int    // how many rows each outbox was given
	topic   string   // of all outboxes; without one each has its own, of its name
}

const fleetKeys = 20

func newFleet(t testing.TB, databases, outboxes int) *fleet {
	t.Helper()
	f := &fleet{t: t, broker: bustest.Kafka(t)}
	for range databases {
		db, dsn := bustest.Postgres(t)
		f.dbs, f.dsns = append(f.dbs, db), append(f.dsns, dsn)
	}
	for i := range outboxes {
		f.addOutbox(i)
	}
	return f
}

func (f *fleet) addOutbox(i int) {
	f.t.Helper()
	name := fmt.Sprintf("outbox_%02d", i)
	_, err := outbox.Migrate(f.t.Context(), f.db(i), outbox.MigrateConfig{Table: name})
	require.NoError(f.t, err)
	f.broker.CreateTopic(f.t, name, 2, nil)
	f.names, f.writing = append(f.names, name), append(f.writing, 0)
}

func (f *fleet) db(outbox int) *sql.DB { return f.dbs[outbox%len(f.dbs)] }

// write inserts rows 0, 1, 2 … of each key into an outbox.
func (f *fleet) write(outbox, rows int) {
	f.t.Helper()
	_, err := f.db(outbox).ExecContext(f.t.Context(), `INSERT INTO `+f.names[outbox]+` (event_id, topic, payload, key)
		SELECT $5 || i, $1, convert_to((i / $2::int)::text, 'UTF8'), convert_to($5 || i % $2::int, 'UTF8')
		FROM generate_series($3::int, $3::int + $4::int - 1) i ORDER BY i`, f.topicOf(outbox), fleetKeys, f.writing[outbox], rows, f.prefix(outbox))
	require.NoError(f.t, err)
	f.writing[outbox] += rows
}

func (f *fleet) topicOf(outbox int) string { return cmp.Or(f.topic, f.names[outbox]) }

// prefix is what the keys and the ids of an outbox's events begin with.
func (f *fleet) prefix(outbox int) string { return f.names[outbox] + "-" }

func (f *fleet) writeAll(rows int) {
	f.t.Helper()
	for i := range f.names {
		f.write(i, rows)
	}
}

// audit waits until everything is settled, requires that all of it arrived in order, and counts duplicates.
func (f *fleet) audit() (sent, duplicates int) {
	f.t.Helper()
	for i, name := range f.names {
		eventually(f.t, name+" is settled", func() bool { return f.pending(i) == 0 })
	}
	for i, got := range f.arrived() {
		name := f.names[i]
		require.Equal(f.t, f.writing[i], got.distinct, "%s: sent is delivered", name)
		require.Zero(f.t, got.reordered, name)
		sent += f.writing[i]
		duplicates += got.duplicated
	}
	f.t.Logf("%d events sent and delivered, 0 lost, 0 out of order within a key, %d duplicates", sent, duplicates)
	return sent, duplicates
}

// pending is how many rows of an outbox are not settled.
func (f *fleet) pending(outbox int) (n int) {
	f.t.Helper()
	require.NoError(f.t, f.db(outbox).QueryRow(`SELECT count(*) FROM `+f.names[outbox]+` WHERE processed_at IS NULL`).Scan(&n))
	return n
}

// arrived counts the events of each outbox at the broker.
func (f *fleet) arrived() []tally {
	f.t.Helper()
	tallies := make([]tally, len(f.names))
	records := map[string][]bustest.Record{}
	for i := range f.names {
		topic := f.topicOf(i)
		if records[topic] == nil {
			records[topic] = f.broker.Records(f.t, topic)
		}
		tallies[i] = count(f.t, slices.DeleteFunc(slices.Clone(records[topic]), func(r bustest.Record) bool {
			return !strings.HasPrefix(string(r.Key), f.prefix(i))
		}))
	}
	return tallies
}

// member is one process of the group, as far as one can be had inside this one.
type groupMember struct {
	*forwarder.Group

	registry *prometheus.Registry
	stop     func()
}

// config is a member's configuration, on connections of its own.
func (f *fleet) config(name string) forwarder.GroupConfig {
	f.t.Helper()
	sender, err := kafka.NewSender(kafka.SenderConfig{Config: kafka.Config{Brokers: f.broker.Brokers(), RequestTimeout: 2 * time.Second}})
	require.NoError(f.t, err)
	f.t.Cleanup(func() { require.NoError(f.t, sender.Close()) })
	config := forwarder.GroupConfig{Forwarder: forwarder.Config{
		Sender: sender, DeadLetterTopic: "dead", Owner: name, Registerer: prometheus.NewRegistry(), SweepInterval: 500 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(testLog{f.t}, nil)).With("member", name),
	}}
	var dbs []*sql.DB
	for _, dsn := range f.dsns {
		db, err := sql.Open("postgres", dsn)
		require.NoError(f.t, err)
		f.t.Cleanup(func() { _ = db.Close() })
		dbs = append(dbs, db)
	}
	for i, table := range f.names {
		config.Outboxes = append(config.Outboxes, forwarder.Outbox{DB: dbs[i%len(dbs)], Table: table})
	}
	return config
}

func (f *fleet) start(name string, changes ...func(*forwarder.GroupConfig)) *groupMember {
	f.t.Helper()
	config := f.config(name)
	for _, change := range changes {
		change(&config)
	}
	g, err := forwarder.NewGroup(config)
	require.NoError(f.t, err)
	m := &groupMember{Group: g}
	m.registry, _ = config.Forwarder.Registerer.(*prometheus.Registry)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	m.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			require.NoError(f.t, err)
		case <-time.After(patience):
			f.t.Error("the member did not stop")
		}
	})
	f.t.Cleanup(m.stop)
	return m
}

// waitEven waits until all outboxes are owned by the members, evenly, and returns how long that took.
func (f *fleet) waitEven(members ...*groupMember) time.Duration {
	f.t.Helper()
	began := time.Now()
	var loads []int
	defer func() { f.t.Logf("%v after %v", loads, time.Since(began).Round(time.Millisecond)) }()
	eventually(f.t, "the outboxes are spread evenly", func() bool {
		loads = loads[:0]
		all := 0
		for _, m := range members {
			loads = append(loads, m.Status().Owned())
			all += loads[len(loads)-1]
		}
		return all == len(f.names) && slices.Max(loads)-slices.Min(loads) <= 1
	})
	return time.Since(began)
}

// waitOwned waits until the members together own n outboxes.
func (f *fleet) waitOwned(n int, members ...*groupMember) {
	f.t.Helper()
	eventually(f.t, fmt.Sprintf("%d outboxes are owned", n), func() bool {
		all := 0
		for _, m := range members {
			all += m.Status().Owned()
		}
		return all == n
	})
}

// owner is the name in the state table, "" when nobody in the state tables, of those whose lock is held.
func (f *fleet) owner(outbox int) string {
	f.t.Helper()
	status, err := outboxStatus(f, outbox)
	require.NoError(f.t, err)
	return status.Owner
}

func outboxStatus(f *fleet, i int) (outbox.TableStatus, error) {
	return outbox.Status(f.t.Context(), f.db(i), f.names[i])
}

func only(names ...string) func(*forwarder.GroupConfig) {
	return func(c *forwarder.GroupConfig) {
		c.Outboxes = slices.DeleteFunc(c.Outboxes, func(o forwarder.Outbox) bool { return !slices.Contains(names, o.Table) })
	}
}

// scrape returns a metric's samples, as "label=value,… number".
func (m *groupMember) scrape(t testing.TB, name string) (samples []string) {
	t.Helper()
	families, err := m.registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, label.GetName()+"="+label.GetValue())
			}
			samples = append(samples, fmt.Sprintf("%s %v", strings.Join(labels, ","), metric.GetGauge().GetValue()+metric.GetCounter().GetValue()))
		}
	}
	return samples
}
