package forwarder

import (
	"cmp"
	"context"
	"database/sql"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder/internal/settings"
)

// DefaultGroup is the name of the group when none is configured.
const DefaultGroup = "tailrace"

// Outbox is one that a [Group] serves.
type Outbox struct {
	// Name is what status, metrics (the label outbox) and logs call it. Default: the table's name. Each outbox
	// needs a name of its own.
	Name string
	// DB is the database that holds it. Outboxes of one database should share one *sql.DB: a process joins the
	// group once for each.
	DB *sql.DB
	// Table is the outbox table, with its schema if it is not on the search path. Default event_outbox. If it is
	// split (outbox.MigrateConfig.Shards), each of its shards is served as an outbox of its own, a new one within
	// about a second.
	Table string

	// tables, if set, returns the tables that the outbox has now, Table among them, in place of its shards. It is
	// asked about once a second, on no connection of the group's; a table that it names no longer is given back.
	tables func(context.Context) ([]string, error)
}

// GroupConfig says what a [Group] serves, and how.
type GroupConfig struct {
	// Group is the name under which processes find one another: those of one name share out their outboxes.
	// Default tailrace.
	Group string
	// Outboxes are served by this process and those that it shares with. Every process should be given the same
	// ones: then each owns the same number of them, give or take one. An outbox that only some processes know
	// is served by one of these.
	Outboxes []Outbox
	// Forwarder is how each of them is forwarded. DB, Table and Name must be zero. StandbyPoll is how often the
	// process looks who is there and what is free.
	//
	// In each database the process holds one connection as long as it runs, and up to four for each outbox that
	// it owns (see [Config]). A DB with a limit must allow three and one for each of its outboxes.
	Forwarder Config
}

// Group forwards many outboxes, of one database or of several, together with other processes of the same group.
// It is safe for concurrent use.
//
// The processes spread the outboxes evenly: each owns as many as every other, give or take one. One that comes
// is given its share, each outbox by a clean stop; what one leaves behind, by its end or its freezing, is taken
// over by the others. Nobody coordinates: who lives and who owns what are advisory locks of the databases
// themselves.
type Group struct {
	config    GroupConfig
	databases []*database
	gauge     prometheus.Gauge // of members; nil without metrics
	running   atomic.Bool

	mu       sync.Mutex
	stations []*station // in the order of the configuration, tables that came later behind
	seen     int        // members
}

// NewGroup checks the configuration and returns a group. It starts nothing.
func NewGroup(config GroupConfig) (_ *Group, err error) {
	config.Group = cmp.Or(config.Group, DefaultGroup)
	config.Forwarder.Logger = cmp.Or(config.Forwarder.Logger, slog.Default())
	g := &Group{config: config}
	defer func() {
		if err != nil {
			g.unregister()
		}
	}()
	if err := config.check(); err != nil {
		return nil, err
	}
	for _, o := range config.Outboxes {
		d := g.database(o.DB)
		table := cmp.Or(o.Table, outbox.DefaultTable)
		s, err := g.station(cmp.Or(o.Name, table), table, d)
		if err != nil {
			return nil, err // Settings that all share are told once.
		}
		s.source = s.name
		g.stations = append(g.stations, s)
		d.sources = append(d.sources, tableSource{name: cmp.Or(o.Name, table), table: table, list: o.list(table)})
		d.watch(table)
	}
	if err := g.registerMembers(); err != nil {
		return nil, err
	}
	return g, nil
}

func (c GroupConfig) check() error {
	var faults settings.Faults
	faults.If(len(c.Outboxes) == 0, "there are no Outboxes: give at least one")
	faults.If(c.Forwarder.DB != nil || c.Forwarder.Table != "" || c.Forwarder.Name != "", "Forwarder has a DB, a Table or a Name: each Outbox has its own")
	names, tables := map[string]bool{}, map[place]bool{}
	perDatabase := map[*sql.DB]int{}
	for _, o := range c.Outboxes {
		table := cmp.Or(o.Table, outbox.DefaultTable)
		name := cmp.Or(o.Name, table)
		faults.If(o.DB == nil, "outbox %s has no DB: pass the *sql.DB that holds it", name)
		faults.If(names[name], "two outboxes are called %s: give each a Name of its own", name)
		faults.If(tables[place{o.DB, table}], "table %s of one database stands there twice", table)
		names[name], tables[place{o.DB, table}] = true, true
		perDatabase[o.DB]++
	}
	for db, n := range perDatabase {
		if db != nil {
			most := db.Stats().MaxOpenConnections
			faults.If(most > 0 && most < n+connections, "a DB may open %d connections, its %d outboxes need %d: SetMaxOpenConns(%d) or more", most, n, n+connections, n+connections)
		}
	}
	return faults.Err("forwarder")
}

// list returns what is asked for the outbox's tables.
func (o Outbox) list(table string) func(context.Context) ([]string, error) {
	if o.tables != nil {
		return o.tables
	}
	return func(ctx context.Context) ([]string, error) { return shardTables(ctx, o.DB, table) }
}

type place struct {
	db    *sql.DB
	table string
}

// database returns the one of a pool.
func (g *Group) database(db *sql.DB) *database {
	at := slices.IndexFunc(g.databases, func(d *database) bool { return d.db == db })
	if at >= 0 {
		return g.databases[at]
	}
	d := &database{place: len(g.databases), db: db}
	g.databases = append(g.databases, d)
	return d
}

// station makes the one of a table.
func (g *Group) station(name, table string, d *database) (*station, error) {
	config := g.config.Forwarder
	config.DB, config.Table, config.Name = d.db, table, name
	if len(g.config.Outboxes) > 1 || table != cmp.Or(g.config.Outboxes[0].Table, outbox.DefaultTable) {
		config.Logger = config.Logger.With("outbox", name)
	}
	f, err := New(config)
	if err != nil {
		return nil, &OutboxError{name, table, err}
	}
	return &station{name: name, table: table, database: d, forwarder: f, course: course{failures: firstFailure}}, nil
}

func (g *Group) registerMembers() error {
	registerer := g.config.Forwarder.Registerer
	if registerer == nil {
		return nil
	}
	members := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "tailrace", Subsystem: "forwarder", Name: "members",
		Help: "Processes that share out the outboxes, as this one sees them; 0 while it reaches no database.", ConstLabels: prometheus.Labels{"group": g.config.Group},
	})
	if err := register(registerer, []prometheus.Collector{members}); err != nil {
		return err
	}
	g.gauge = members
	return nil
}

// unregister takes all metrics back.
func (g *Group) unregister() {
	for _, s := range g.stations {
		s.forwarder.metrics.unregister(g.config.Forwarder.Registerer)
	}
}

// Wake tells the group's forwarders that something was committed, so that they look at once instead of at their
// next poll. It never blocks.
func (g *Group) Wake() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.stations {
		s.forwarder.Wake()
	}
}
