package forwarder_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder"
)

// TestGroupStaysEven: members come one after the other and leave again, under load, and each clean handover
// makes no duplicate.
func TestGroupStaysEven(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, 8)
	f.broker.ProduceLatency(5 * time.Millisecond)
	var members []*groupMember
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		members = append(members, f.start(name))
		f.writeAll(300)
		f.waitEven(members...)
	}
	for len(members) > 1 {
		f.writeAll(300)
		members[0].stop()
		members = members[1:]
		f.writeAll(300)
		f.waitEven(members...)
	}
	_, duplicates := f.audit()
	require.Zero(t, duplicates, "only clean handovers")
	require.Contains(t, members[0].scrape(t, "tailrace_forwarder_members"), "group=tailrace 1")
}

// TestGroupOfOneOutboxIsOwnerAndStandby, as Forwarders are, and beside one.
func TestGroupOfOneOutboxIsOwnerAndStandby(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, 1)
	first := f.start("first")
	eventually(t, "the first owns", func() bool { return first.Status().Owned() == 1 })
	second := f.start("second")
	eventually(t, "the second sees it", func() bool { return second.Status().Members == 2 })
	require.NoError(t, second.Status().Ready(), "standing by is ready")
	require.Equal(t, "standby, 0 in flight, 0 waiting", second.Status().String())
	require.Equal(t, "first", f.owner(0))

	b := &testBundle{t: t, db: f.dbs[0], broker: f.broker, sender: nil}
	outside := f.config("outside").Forwarder
	outside.DB, outside.Table = f.dbs[0], f.names[0]
	lone, err := forwarder.New(outside)
	require.NoError(t, err)
	f.write(0, 1000)
	first.stop()
	eventually(t, "the second owns", func() bool { return second.Status().Owned() == 1 })
	stop := b.run(lone)
	eventually(t, "who is outside stands by", func() bool { return lone.Status().State == forwarder.Standby })
	f.write(0, 1000)
	second.stop()
	eventually(t, "who is outside takes over", func() bool { return lone.Status().State == forwarder.Owner })
	third := f.start("third")
	eventually(t, "the third stands by", func() bool { return third.Status().Members == 1 })
	stop()
	eventually(t, "the third owns", func() bool { return third.Status().Owned() == 1 })
	_, duplicates := f.audit()
	require.Zero(t, duplicates)
}

// TestGroupFollowsItsTables: an outbox gets further tables while the group runs, and loses one again.
func TestGroupFollowsItsTables(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, 2)
	var tables atomic.Value // []string
	tables.Store(slices.Clone(f.names))
	growing := func(c *forwarder.GroupConfig) {
		o := c.Outboxes[0]
		o.Name = "orders"
		c.Outboxes = []forwarder.Outbox{forwarder.WithTables(o, func(context.Context) ([]string, error) {
			if list, _ := tables.Load().([]string); list != nil {
				return list, nil
			}
			return nil, errors.New("not now")
		})}
	}
	a, b := f.start("a", growing), f.start("b", growing)
	f.waitEven(a, b)
	for i := 2; i < 6; i++ {
		f.addOutbox(i)
	}
	tables.Store([]string(nil)) // an error changes nothing
	f.writeAll(200)
	f.waitOwned(2, a, b)
	tables.Store(slices.Clone(f.names))
	f.waitEven(a, b)
	require.Len(t, a.Status().Outboxes, 6)
	require.Equal(t, "orders", a.Status().Outboxes[0].Name)
	require.Contains(t, a.Status().String(), "\norders/outbox_05: ")
	_, duplicates := f.audit()
	require.Zero(t, duplicates)

	tables.Store(f.names[:1])
	f.waitOwned(1, a, b)
	eventually(t, "it is served no longer", func() bool { return len(a.Status().Outboxes) == 1 && len(b.Status().Outboxes) == 1 })
	require.Len(t, a.scrape(t, "tailrace_forwarder_owner"), 1, "nor measured")
	require.Empty(t, f.owner(5))
}

// TestGroupOutlivesLostSessions: the server ends the sessions of members and owners at random.
func TestGroupOutlivesLostSessions(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, 6)
	f.broker.ProduceLatency(5 * time.Millisecond)
	members := []*groupMember{f.start("a"), f.start("b"), f.start("c")}
	f.waitEven(members...)
	for i := range 12 {
		f.writeAll(200)
		_, err := f.dbs[i%2].Exec(`SELECT pg_terminate_backend(pid) FROM (SELECT DISTINCT pid FROM pg_locks WHERE locktype = 'advisory'
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) s WHERE random() < 0.5`)
		require.NoError(t, err)
		if i%3 == 0 {
			f.waitEven(members...)
		}
	}
	f.waitEven(members...)
	f.audit()
}

// TestGroupsOfUnequalLists: what only one process knows is served by it, without being passed around, and the
// others serve the more of what all know.
func TestGroupsOfUnequalLists(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, 6)
	quick := func(c *forwarder.GroupConfig) { c.Forwarder.StandbyPoll = 50 * time.Millisecond }
	all := f.start("all", quick)
	f.waitEven(all)
	some := f.start("some", quick, only(f.names[0], f.names[1]))
	f.waitOwned(6, all, some)
	eventually(t, "the other serves both that it knows", func() bool { return some.Status().Owned() == 2 })
	f.waitOwned(6, all, some)
	// One with four outboxes could give one to the other, if that knew it. It tries, and then keeps them.
	strange := f.start("strange", quick, only(f.names[5]))
	f.writeAll(200)
	f.waitOwned(6, all, some, strange)
	eventually(t, "the third serves its one", func() bool { return strange.Status().Owned() == 1 && all.Status().Owned() == 3 })
	_, duplicates := f.audit()
	require.Zero(t, duplicates)
}

// TestGroupSpeaksOfEachOutbox in status, readiness and metrics.
func TestGroupSpeaksOfEachOutbox(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, 2)
	m := f.start("m", func(c *forwarder.GroupConfig) { c.Outboxes[0].Name = "orders" })
	f.waitEven(m)
	require.NoError(t, m.Status().Ready())
	require.Equal(t, "2 of 2 outboxes owned, 1 members\norders: owner, 0 in flight, 0 waiting\noutbox_01: owner, 0 in flight, 0 waiting", m.Status().String())
	require.Equal(t, []string{"outbox=orders 1", "outbox=outbox_01 1"}, m.scrape(t, "tailrace_forwarder_owner"))
	require.Contains(t, m.scrape(t, "tailrace_forwarder_handovers_total"), "outbox=orders,way=taken 1")
	since := m.scrape(t, "tailrace_forwarder_owned_since_timestamp_seconds")
	require.Len(t, since, 2)
	require.NotContains(t, since, "outbox=orders 0")
	m.stop()
	require.Contains(t, m.scrape(t, "tailrace_forwarder_handovers_total"), "outbox=orders,way=given 1")
	require.Contains(t, m.scrape(t, "tailrace_forwarder_owned_since_timestamp_seconds"), "outbox=orders 0")
	require.ErrorContains(t, m.Status().Ready(), "outbox orders: not running")
}

// TestGroupNamesEveryMistake at once.
func TestGroupNamesEveryMistake(t *testing.T) {
	t.Parallel()
	db, _ := bustest.Postgres(t)
	narrow, _ := bustest.Postgres(t)
	narrow.SetMaxOpenConns(4)
	_, err := forwarder.NewGroup(forwarder.GroupConfig{
		Outboxes:  []forwarder.Outbox{{}, {Name: "x", DB: db}, {Name: "x", DB: db, Table: "event_outbox"}, {DB: narrow, Table: "a"}, {DB: narrow, Table: "b"}},
		Forwarder: forwarder.Config{DB: db},
	})
	for _, part := range []string{"event_outbox has no DB", "two outboxes are called x", "event_outbox of one database stands there twice", "each Outbox has its own", "SetMaxOpenConns(5)"} {
		require.ErrorContains(t, err, part)
	}
	_, err = forwarder.NewGroup(forwarder.GroupConfig{})
	require.ErrorContains(t, err, "no Outboxes")
	registry := prometheus.NewRegistry()
	_, err = forwarder.NewGroup(forwarder.GroupConfig{Outboxes: []forwarder.Outbox{{DB: db}}, Forwarder: forwarder.Config{Registerer: registry, BatchSize: -1}})
	require.ErrorContains(t, err, "BatchSize")
	require.ErrorContains(t, err, "Sender is nil")
	families, err := registry.Gather()
	require.NoError(t, err)
	require.Empty(t, families, "what was registered is taken back")
}

// TestGroupWithAMissingTable ends at once with the command that helps, and which outbox it is about.
func TestGroupWithAMissingTable(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, 2)
	config := f.config("m")
	config.Outboxes[1].Table, config.Outboxes[1].Name = "no_such_outbox", "lost"
	g, err := forwarder.NewGroup(config)
	require.NoError(t, err)
	err = g.Run(t.Context())
	require.ErrorIs(t, err, outbox.ErrNoTable)
	require.ErrorContains(t, err, "tailrace migrate")
	var one *forwarder.OutboxError
	require.ErrorAs(t, err, &one)
	require.Equal(t, "lost", one.Name)
	require.Equal(t, "no_such_outbox", one.Table)
}

// TestTableThatIsLostLater holds up no other outbox, and is served again once it is back.
func TestTableThatIsLostLater(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, 2)
	m := f.start("m")
	f.waitEven(m)
	require.NoError(t, m.Status().Ready())
	_, err := f.dbs[0].Exec(`DROP TABLE outbox_01, outbox_01_forwarder, outbox_01_migrations`)
	require.NoError(t, err)
	eventually(t, "it is told", func() bool {
		err := m.Status().Ready()
		return err != nil && errors.Is(err, outbox.ErrNoTable)
	})
	f.write(0, 100)
	eventually(t, "the other flows", func() bool { return len(f.broker.Records(t, f.names[0])) == 100 })
	_, err = outbox.Migrate(t.Context(), f.dbs[0], outbox.MigrateConfig{Table: "outbox_01"})
	require.NoError(t, err)
	f.write(1, 100)
	f.waitEven(m)
	require.NoError(t, m.Status().Ready())
	f.audit()
}
