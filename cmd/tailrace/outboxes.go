package main

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tailrace-go/tailrace/bus/connect"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder"
)

// address is where an outbox is.
type address struct {
	name     string
	database connect.DSN
	table    string
}

// addresses are outboxes as an operator writes them.
type addresses []address

func (a addresses) String() string {
	places := make([]string, len(a))
	for i, one := range a {
		places[i] = fmt.Sprintf("%s=%s#%s", one.name, one.database, one.table)
	}
	return strings.Join(places, " ")
}

// outboxSettings let a command work on several outboxes: those of --outbox, and the tables of the plain database.
type outboxSettings struct {
	settings

	more  addresses
	group string
}

func (s *outboxSettings) shareOutboxes(cmd *cobra.Command) {
	s.share(cmd, setting{flag: "database-url", variable: "DATABASE_URL", kind: "url"},
		"connection string of the database that holds the outbox, as lib/pq takes it; required without --outbox. Other users of the machine can see a flag")
	s.share(cmd, setting{flag: "table", variable: "EVENT_OUTBOX_TABLE", kind: "name,…"},
		"the outbox table, or several, comma-separated, each with its schema if that is not on the search path")
	define(&s.settings, cmd, &s.more, setting{flag: "outbox", variable: "TAILRACE_OUTBOXES", kind: "name=url#table", repeated: true, secret: true},
		"a further outbox, in any database: its name in status and metrics, the connection string as a URL, and the table ("+outbox.DefaultTable+" if left out). "+
			"The flag may stand there several times, the variable may have several between spaces or newlines", parseOutboxes)
}

func (s *outboxSettings) defineGroup(cmd *cobra.Command, usage string) {
	define(&s.settings, cmd, &s.group, setting{flag: "group", variable: "TAILRACE_GROUP", kind: "name", text: forwarder.DefaultGroup}, usage, parseWord)
}

var outboxName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// parseOutboxes repeats nothing of what it was given but the names: the rest may have a password.
func parseOutboxes(text string) (addresses, error) {
	var all addresses
	for i, item := range strings.Fields(text) {
		name, rest, _ := strings.Cut(item, "=")
		if !outboxName.MatchString(name) || !strings.Contains(rest, "://") {
			return nil, fmt.Errorf("outbox %d must be name=postgres://user:password@host:5432/database#table, with letters, digits and _ . - in the name", i+1)
		}
		url, table, _ := strings.Cut(rest, "#")
		one := address{name: name, database: connect.DSN(url), table: cmp.Or(table, outbox.DefaultTable)}
		if err := one.check(); err != nil {
			return nil, fmt.Errorf("outbox %s: %w", name, err)
		}
		all = append(all, one)
	}
	return all, nil
}

// check has bus/connect judge the connection string and the table.
func (a address) check() error {
	config, err := connect.Load(map[string]string{"DATABASE_URL": string(a.database), "EVENT_OUTBOX_TABLE": a.table})
	if err := errors.Join(err, config.Validate()); err != nil {
		return errors.New(strings.ReplaceAll(err.Error(), connect.ErrConfig.Error()+": ", ""))
	}
	return nil
}

// outboxes returns what bus/connect knows and all outboxes, or every mistake.
func (s *outboxSettings) outboxes(flags *pflag.FlagSet, environ map[string]string) (connect.Config, addresses, error) {
	own := s.resolve(flags, environ)
	environ, names := s.over(flags, environ)
	const variable = "EVENT_OUTBOX_TABLE"
	first, others, _ := strings.Cut(environ[variable], ",")
	environ[variable] = strings.TrimSpace(first)
	config, shared := load(environ, names, len(s.more) == 0 && own == nil)
	faults := []error{shared, own}
	var all addresses
	for i, table := range append([]string{config.OutboxTable}, strings.FieldsFunc(others, func(r rune) bool { return r == ',' })...) {
		one := address{name: strings.TrimSpace(table), database: config.DatabaseURL, table: strings.TrimSpace(table)}
		if config.DatabaseURL == "" {
			break
		}
		if i > 0 {
			faults = append(faults, one.check())
		}
		all = append(all, one)
	}
	all = append(all, s.more...)
	return config, all, errors.Join(append(faults, all.twice())...)
}

// twice says which outboxes cannot be told apart.
func (a addresses) twice() error {
	var faults []error
	for i, one := range a {
		for _, other := range a[:i] {
			switch {
			case one.database == other.database && one.table == other.table:
				faults = append(faults, fmt.Errorf("table %s of %s stands there twice: leave one out", one.table, one.database))
			case one.name == other.name:
				faults = append(faults, fmt.Errorf("two outboxes are called %s: give each a name of its own, as --outbox or TAILRACE_OUTBOXES takes it", one.name))
			}
		}
	}
	return errors.Join(faults...)
}

// pools are the databases of some outboxes, one for each connection string.
type pools map[connect.DSN]*sql.DB

func (a addresses) open(open func(address) (*sql.DB, error)) (pools, error) {
	opened := pools{}
	for _, one := range a {
		if opened[one.database] != nil {
			continue
		}
		db, err := open(one)
		if err != nil {
			opened.close()
			return nil, err
		}
		opened[one.database] = db
	}
	return opened, nil
}

func (p pools) close() {
	for _, db := range p {
		_ = db.Close()
	}
}

// openForwarding opens them for a group of forwarders. What it opens is bounded by what it owns: one connection
// as long as it runs, and up to four for each outbox that it owns. Those that are left over are closed soon.
func (a addresses) openForwarding(registry prometheus.Registerer, plain connect.DSN) (pools, error) {
	return a.open(func(one address) (*sql.DB, error) {
		db, err := openDatabase(one.database, 0)
		if err != nil {
			return nil, err
		}
		db.SetMaxIdleConns(64)
		db.SetConnMaxIdleTime(30 * time.Second)
		name := one.name
		if one.database == plain {
			name = "outbox"
		}
		return db, registry.Register(collectors.NewDBStatsCollector(db, name))
	})
}

// served are the outboxes as a Group takes them.
func (a addresses) served(databases pools) []forwarder.Outbox {
	all := make([]forwarder.Outbox, len(a))
	for i, one := range a {
		all[i] = forwarder.Outbox{Name: one.name, DB: databases[one.database], Table: one.table}
	}
	return all
}
