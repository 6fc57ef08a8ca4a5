package main_test

import (
	"database/sql"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/internal/embedded/link"
)

// fleet is outboxes in two databases, each with a topic and a writer of its own, and the processes that share
// them out.
type fleet struct {
	t         testing.TB
	broker    *bustest.Broker
	admin     *kadm.Client
	databases []fleetDatabase
	outboxes  []fleetOutbox
	processes []*process // that live
	frozen    *process   // one of them
	binary    func() (string, error)
}

const (
	fleetPartitions = 2  // of each topic
	fleetKeys       = 10 // of each outbox
)

// fleetOutbox is table and topic of one name.
type fleetOutbox struct {
	name string
	db   *sql.DB
	dsn  string
	load *load
	// count is of the whole test, once it is required to be whole.
	count tally
}

// fleetDatabase is one of the two.
type fleetDatabase struct {
	db     *sql.DB
	dsn    string
	names  []string       // of its outboxes
	locks  *outbox.Member // of no group but its own: it only looks
	owners string         // the query for what the owners call themselves
}

func setupFleet(t testing.TB, outboxes int, topicConfigs map[string]string) *fleet {
	t.Helper()
	f := &fleet{t: t, broker: bustest.Kafka(t), binary: binary}
	f.admin = administer(t, f.broker)
	f.databases = make([]fleetDatabase, 2)
	for i := range f.databases {
		d := &f.databases[i]
		d.db, d.dsn = bustest.Postgres(t)
	}
	for i := range outboxes {
		d := &f.databases[i%2]
		o := fleetOutbox{name: fmt.Sprintf("outbox_%d", i), db: d.db, dsn: d.dsn}
		d.names = append(d.names, o.name)
		_, err := outbox.Migrate(t.Context(), o.db, outbox.MigrateConfig{Table: o.name})
		require.NoError(t, err)
		f.broker.CreateTopic(t, o.name, fleetPartitions, topicConfigs)
		o.load = startLoadOf(o.db, o.name, o.name, 1, fleetKeys)
		f.outboxes = append(f.outboxes, o)
	}
	for i := range f.databases {
		f.databases[i].watch(t)
	}
	return f
}

// watch prepares for being asked who owns what.
func (d *fleetDatabase) watch(t testing.TB) {
	t.Helper()
	var err error
	d.locks, err = outbox.Join(t.Context(), d.db, outbox.Membership{Group: "only looks", Number: 1}, time.Hour)
	require.NoError(t, err)
	t.Cleanup(d.locks.Leave)
	var names []string
	for _, name := range d.names {
		names = append(names, `SELECT '`+name+`', coalesce(split_part(owner, ':', 2)::int, 0) FROM `+name+`_forwarder`)
	}
	d.owners = strings.Join(names, ` UNION ALL `)
}

// flags name the outboxes.
func (f *fleet) flags() (flags []string) {
	for _, o := range f.outboxes {
		flags = append(flags, "--outbox", o.name+"="+o.dsn+"#"+o.name)
	}
	return flags
}

// start adds a process.
func (f *fleet) start(args ...string) *process {
	f.t.Helper()
	return f.startWith(f.flags(), args...)
}

func (f *fleet) startWith(outboxes []string, args ...string) *process {
	f.t.Helper()
	arguments := slices.Concat([]string{"forward", "--http-addr", "127.0.0.1:0"}, outboxes, args)
	p := startBinary(f.t, f.binary, []string{"KAFKA_BROKERS=" + strings.Join(f.broker.Brokers(), ",")}, arguments...)
	f.processes = append(f.processes, p)
	return p
}

// throughLinks has processes that are started from now on reach the databases through links, one for each.
func (f *fleet) throughLinks() (links []*link.Link) {
	f.t.Helper()
	ways := map[string]string{}
	for i, o := range f.outboxes {
		if ways[o.dsn] == "" {
			l, way, err := link.OpenURL(o.dsn)
			require.NoError(f.t, err)
			f.t.Cleanup(func() { _ = l.Close() })
			links = append(links, l)
			ways[o.dsn] = way
		}
		f.outboxes[i].dsn = ways[o.dsn]
	}
	return links
}

// end ends a process by a signal.
func (f *fleet) end(p *process, signal syscall.Signal) {
	f.t.Helper()
	p.signal(signal)
	p.wait()
	f.gone(p)
}

// stop ends a process cleanly.
func (f *fleet) stop(p *process) {
	f.t.Helper()
	p.stop()
	f.gone(p)
}

func (f *fleet) gone(p *process) {
	f.processes = slices.DeleteFunc(f.processes, func(other *process) bool { return other == p })
}

func (f *fleet) freeze(p *process) {
	f.t.Helper()
	p.signal(syscall.SIGSTOP)
	f.frozen = p
}

func (f *fleet) thaw() {
	f.t.Helper()
	f.frozen.signal(syscall.SIGCONT)
	f.frozen = nil
}

// release lets n more events be written to each outbox.
func (f *fleet) release(n int) {
	for _, o := range f.outboxes {
		o.load.release(n)
	}
}

// owners are the process ids that own the outboxes; what nobody owns is not among them. That somebody does is
// what the locks say: a process that was killed leaves its name behind.
func (f *fleet) owners() map[string]int {
	f.t.Helper()
	owners := map[string]int{}
	for _, d := range f.databases {
		rows, err := d.db.QueryContext(f.t.Context(), d.owners)
		require.NoError(f.t, err)
		defer rows.Close()
		for rows.Next() {
			var name string
			var pid int
			require.NoError(f.t, rows.Scan(&name, &pid))
			owners[name] = pid
		}
		require.NoError(f.t, rows.Err())
		census, err := d.locks.Census(f.t.Context(), d.names)
		require.NoError(f.t, err)
		maps.DeleteFunc(owners, func(name string, _ int) bool {
			_, owned := census.Owners[name]
			return slices.Contains(d.names, name) && !owned
		})
	}
	return owners
}

// owns is how many outboxes a process owns.
func (f *fleet) owns(p *process) (n int) {
	f.t.Helper()
	for _, pid := range f.owners() {
		if pid == p.pid() {
			n++
		}
	}
	return n
}

// waitEven waits until all outboxes are owned by the processes that are awake, evenly.
func (f *fleet) waitEven(after string) {
	f.t.Helper()
	began := time.Now()
	var loads []int
	require.Eventuallyf(f.t, func() bool {
		owned := map[int]int{}
		for _, pid := range f.owners() {
			owned[pid]++
		}
		loads = nil
		all := 0
		for _, p := range f.processes {
			if p != f.frozen {
				loads = append(loads, owned[p.pid()])
				all += owned[p.pid()]
			}
		}
		return all == len(f.outboxes) && slices.Max(loads)-slices.Min(loads) <= 1
	}, patience, 10*tick, "the outboxes are not spread evenly after: %s", after)
	f.t.Logf("%s: %v after %s", after, loads, time.Since(began).Round(time.Millisecond))
}

func (f *fleet) names() (names []string) {
	for _, o := range f.outboxes {
		names = append(names, o.name)
	}
	return names
}

// arrived is how many records the topics hold.
func (f *fleet) arrived() int {
	f.t.Helper()
	return recordsIn(f.t, f.admin, f.names()...)
}

func (f *fleet) waitArrived(n int) {
	f.t.Helper()
	require.Eventuallyf(f.t, func() bool { return f.arrived() >= n }, patience, tick, "fewer than %d records arrived", n)
}

// pending is how many rows of all outboxes wait to be settled.
func (f *fleet) pending() int {
	f.t.Helper()
	return f.count(`processed_at IS NULL`)
}

func (f *fleet) count(where string) (all int) {
	f.t.Helper()
	for _, o := range f.outboxes {
		var n int
		require.NoError(f.t, o.db.QueryRowContext(f.t.Context(), `SELECT count(*) FROM `+o.name+` WHERE `+where).Scan(&n))
		all += n
	}
	return all
}

func (f *fleet) waitSettled() {
	f.t.Helper()
	require.Eventually(f.t, func() bool { return f.pending() == 0 }, patience, 10*tick, "rows stay pending")
}

// requireWhole ends the load, requires that every event arrived, in order, and that nobody counted anything of
// this against an event, and logs the count.
func (f *fleet) requireWhole() tally {
	f.t.Helper()
	for _, o := range f.outboxes {
		o.load.finish()
		require.Zero(f.t, o.load.faults.Load())
	}
	f.waitSettled()
	var all tally
	for i, o := range f.outboxes {
		f.outboxes[i].count = reckon(f.t, written(f.t, o.db, o.name), f.broker.Records(f.t, o.name))
		all = all.plus(f.outboxes[i].count)
	}
	require.Zero(f.t, f.count(`retry_count > 0`), "none of this is an event's fault")
	f.t.Log(all)
	all.requireWhole(f.t)
	return all
}

var lostHandover = regexp.MustCompile(`(?m)^tailrace_forwarder_handovers_total\{outbox="(\w+)",way="lost"\} (\d+)$`)

// lost is how often the process has lost each of the outboxes, as it counts that.
func (p *process) lost() map[string]int {
	p.t.Helper()
	_, metrics := p.get("/metrics")
	lost := map[string]int{}
	for _, found := range lostHandover.FindAllStringSubmatch(metrics, -1) {
		n, err := strconv.Atoi(found[2])
		require.NoError(p.t, err)
		if n > 0 {
			lost[found[1]] = n
		}
	}
	return lost
}

// lost are the outboxes that a process which is awake has lost.
func (f *fleet) lost() map[string]int {
	f.t.Helper()
	lost := map[string]int{}
	for _, p := range f.processes {
		if p != f.frozen {
			maps.Copy(lost, p.lost())
		}
	}
	return lost
}
