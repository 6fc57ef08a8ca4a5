package forwarder_test

import (
	"context"
	"database/sql"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/forwarder"
	"github.com/tailrace-go/tailrace/internal/embedded/link"
)

// ofDatabase are the outboxes of a database.
func (f *fleet) ofDatabase(database int) (outboxes []int) {
	for i := database; i < len(f.names); i += len(f.dbs) {
		outboxes = append(outboxes, i)
	}
	return outboxes
}

// newSharedFleet is a fleet of two databases whose outboxes have one topic, so that what one of them holds back
// could hold up the others' records.
func newSharedFleet(t testing.TB) *fleet {
	t.Helper()
	f := newFleet(t, 2, 6)
	f.topic = "shared"
	f.broker.CreateTopic(t, f.topic, 3, nil)
	f.broker.ProduceLatency(2 * time.Millisecond)
	return f
}

// link puts a link before a database, for the members that start from now on.
func (f *fleet) link(database int) *link.Link {
	f.t.Helper()
	l, dsn, err := link.OpenURL(f.dsns[database])
	require.NoError(f.t, err)
	f.t.Cleanup(func() { _ = l.Close() })
	f.dsns[database] = dsn
	return l
}

// pace writes a few rows into each outbox of a database, waits until they are settled, and begins again.
type pace struct {
	database int
	members  []*groupMember
	left     []string // as of its begin

	rounds  atomic.Int64
	longest time.Duration // that a round took
	machine time.Duration // the longest that the machine took for next to nothing, meanwhile
	stop    func()
}

func (f *fleet) pace(database int, members ...*groupMember) *pace {
	p := &pace{database: database, members: members, left: f.left(database, members)}
	ctx, cancel := context.WithCancel(context.Background())
	var going sync.WaitGroup
	going.Go(func() {
		for began := time.Now(); ctx.Err() == nil; began = time.Now() {
			for _, i := range f.ofDatabase(database) {
				f.write(i, fleetKeys)
			}
			for _, i := range f.ofDatabase(database) {
				eventually(f.t, "a round is settled", func() bool { return f.pending(i) == 0 })
			}
			p.longest = max(p.longest, time.Since(began))
			p.rounds.Add(1)
		}
	})
	going.Go(func() {
		for began := time.Now(); ctx.Err() == nil; began = time.Now() {
			if _, err := f.dbs[database].Exec(`SELECT pg_sleep(0.005)`); err != nil {
				f.t.Error(err)
			}
			p.machine = max(p.machine, time.Since(began))
		}
	})
	p.stop = sync.OnceFunc(func() { cancel(); going.Wait() })
	f.t.Cleanup(p.stop)
	return p
}

// goesOn waits for some more rounds.
func (p *pace) goesOn(t testing.TB) {
	t.Helper()
	until := p.rounds.Load() + 20
	eventually(t, "the other database's outboxes go on", func() bool { return p.rounds.Load() >= until })
}

// left is how often an outbox of a database left a member.
func (f *fleet) left(database int, members []*groupMember) (all []string) {
	for _, m := range members {
		for _, sample := range m.scrape(f.t, "tailrace_forwarder_handovers_total") {
			name, way, _ := strings.Cut(strings.TrimPrefix(sample, "outbox="), ",way=")
			if slices.Index(f.names, name)%len(f.dbs) == database && !strings.HasPrefix(way, "taken") {
				all = append(all, sample)
			}
		}
	}
	return all
}

// requireUndisturbed requires that the outboxes of the database saw nothing of what was done to the other one: no
// pause, no handover, no duplicate.
func (f *fleet) requireUndisturbed(p *pace) {
	f.t.Helper()
	p.stop()
	f.t.Logf("%d rounds, the longest %v; the machine's longest pause %v", p.rounds.Load(), p.longest.Round(time.Millisecond), p.machine.Round(time.Millisecond))
	require.Less(f.t, p.longest, 2*time.Second+10*p.machine, "no pause")
	if p.machine > 250*time.Millisecond {
		return // others were long enough in its way to cost somebody a lease, or to have it come back last
	}
	require.Equal(f.t, p.left, f.left(p.database, p.members), "nothing changes hands")
	arrived := f.arrived()
	for _, i := range f.ofDatabase(p.database) {
		require.Zero(f.t, arrived[i].duplicated, f.names[i])
	}
}

// away waits until the members say that a database is away, of each of its outboxes and of no other.
func (f *fleet) away(database int, members ...*groupMember) {
	f.t.Helper()
	eventually(f.t, "the members say which database is away", func() bool {
		for _, m := range members {
			for i, o := range m.Status().Outboxes {
				if err := o.Ready(); (err == nil) == (i%len(f.dbs) == database) || err != nil && !strings.Contains(err.Error(), "the database is away") {
					return false
				}
			}
		}
		return true
	})
	eventually(f.t, "none of them claims to own what it cannot reach", func() bool {
		return !slices.ContainsFunc(members, func(m *groupMember) bool {
			return slices.ContainsFunc(m.scrape(f.t, "tailrace_forwarder_owner"), func(sample string) bool {
				name, owned, _ := strings.Cut(strings.TrimPrefix(sample, "outbox="), " ")
				return owned == "1" && slices.Index(f.names, name)%len(f.dbs) == database
			})
		})
	})
}

// back waits until everything is well again.
func (f *fleet) back(members ...*groupMember) {
	f.t.Helper()
	f.waitEven(members...)
	eventually(f.t, "the members are ready", func() bool {
		return !slices.ContainsFunc(members, func(m *groupMember) bool { return m.Status().Ready() != nil })
	})
}

// TestADatabaseThatIsAwayHoldsUpNoOther: it is away for all members, and comes back.
func TestADatabaseThatIsAwayHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*link.Link){"it does not answer": (*link.Link).Hang, "its connections break": (*link.Link).Cut} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newSharedFleet(t)
			l := f.link(1)
			a, b := f.start("a"), f.start("b")
			f.waitEven(a, b)
			p := f.pace(0, a, b)
			for range 2 {
				for _, i := range f.ofDatabase(1) {
					f.write(i, 500)
				}
				eventually(t, "it flows", func() bool { return f.pending(1) < f.writing[1] })
				fault(l)
				for _, i := range f.ofDatabase(1) {
					f.write(i, 200) // services reach their database
				}
				f.away(1, a, b)
				p.goesOn(t)
				l.Mend()
				f.back(a, b)
			}
			f.requireUndisturbed(p)
			f.audit()
		})
	}
}

// TestAServerThatIsDownHoldsUpNoOther: it is shut down, and it crashes.
func TestAServerThatIsDownHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	server, err := bustest.StartPostgres(ctx, bustest.PostgresConfig{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Stop() })
	name, err := server.CreateDatabase(ctx, "down")
	require.NoError(t, err)
	db, dsn := bustest.Postgres(t)
	own, err := sql.Open("postgres", server.DSN(name))
	require.NoError(t, err)
	t.Cleanup(func() { _ = own.Close() })
	f := &fleet{t: t, broker: bustest.Kafka(t), dbs: []*sql.DB{db, own}, dsns: []string{dsn, server.DSN(name)}}
	for i := range 4 {
		f.addOutbox(i)
	}
	a, b := f.start("a"), f.start("b")
	f.waitEven(a, b)
	p := f.pace(0, a, b)
	for _, end := range []func() error{server.Shutdown, server.Kill} {
		for _, i := range f.ofDatabase(1) {
			f.write(i, 500)
		}
		eventually(t, "it flows", func() bool { return f.pending(1) < f.writing[1] })
		require.NoError(t, end())
		f.away(1, a, b)
		p.goesOn(t)
		restarting, cancel := context.WithTimeout(context.Background(), patience)
		require.NoError(t, server.Restart(restarting))
		cancel()
		f.back(a, b)
	}
	f.requireUndisturbed(p)
	f.audit()
}

// TestAMemberThatDoesNotReachADatabase: the others take over its outboxes there and give it as many elsewhere, and
// nothing goes to and fro.
func TestAMemberThatDoesNotReachADatabase(t *testing.T) {
	t.Parallel()
	f := newSharedFleet(t)
	direct := f.dsns[1]
	l := f.link(1)
	a := f.start("a")
	f.dsns[1] = direct
	b := f.start("b")
	f.waitEven(a, b)
	for _, i := range f.ofDatabase(1) {
		f.write(i, 500)
	}
	l.Hang()
	eventually(t, "the other has all of its outboxes, and each has as many", func() bool {
		_, own := f.split(a)
		_, others := f.split(b)
		return own == 0 && others == 3 && a.Status().Owned() == 3 && b.Status().Owned() == 3
	})
	f.away(1, a)
	f.writeAll(200)
	l.Mend()
	f.back(a, b)
	f.writeAll(200)
	f.audit()
}

// split is how many outboxes of each of the two databases a member owns.
func (f *fleet) split(m *groupMember) (first, second int) {
	for i, o := range m.Status().Outboxes {
		if o.State != forwarder.Owner {
			continue
		}
		if i%2 == 0 {
			first++
		} else {
			second++
		}
	}
	return first, second
}

// TestStopWhileADatabaseDoesNotAnswer: Run returns in its time and says what it left behind, and the other
// database's outboxes are handed over cleanly.
func TestStopWhileADatabaseDoesNotAnswer(t *testing.T) {
	t.Parallel()
	for name, known := range map[string]bool{"at once": false, "when that is known": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newSharedFleet(t)
			f.broker.ProduceLatency(20 * time.Millisecond)
			direct := f.dsns[1]
			l := f.link(1)
			config := f.config("stopped")
			config.Forwarder.DrainTimeout = 3 * time.Second
			config.Forwarder.Logger = slog.New(slog.DiscardHandler) // what is left behind may outlive the test
			g, err := forwarder.NewGroup(config)
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- g.Run(ctx) }()
			eventually(t, "it owns all", func() bool { return g.Status().Owned() == 6 })
			f.writeAll(2000)
			eventually(t, "it flows", func() bool { return f.pending(0) < f.writing[0] && f.pending(1) < f.writing[1] })
			l.Hang()
			if known {
				eventually(t, "it says so", func() bool { return g.Status().Ready() != nil })
				f.write(0, 2000)
			}
			began := time.Now()
			cancel()
			select {
			case err = <-done:
			case <-time.After(patience):
				t.Fatal("Run does not return")
			}
			t.Logf("returned after %v: %v", time.Since(began).Round(time.Millisecond), err)
			require.Less(t, time.Since(began), 2*config.Forwarder.DrainTimeout+10*time.Second)
			require.ErrorContains(t, err, "did not answer within the drain timeout")
			require.ErrorContains(t, err, "outbox_01, outbox_03, outbox_05")
			for _, i := range f.ofDatabase(0) {
				require.NotContains(t, err.Error(), f.names[i])
			}

			f.dsns[1] = direct
			next := f.start("next")
			f.waitEven(next)
			f.writeAll(200)
			f.audit()
			arrived := f.arrived()
			for _, i := range f.ofDatabase(0) {
				require.Zero(t, arrived[i].duplicated, "%s was handed over cleanly", f.names[i])
			}
			l.Cut() // so that what was left behind ends
		})
	}
}
