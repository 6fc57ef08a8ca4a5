package main

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/lib/pq"
	"github.com/spf13/cobra"
)

// databaseSettings say which outbox a command is about.
type databaseSettings struct {
	connector *pq.Connector
	given     bool
	table     string
}

func (d *databaseSettings) define(s *settings, cmd *cobra.Command) {
	define(s, cmd, &d.connector, setting{flag: "database-url", variable: "DATABASE_URL", kind: "url", secret: true},
		"connection string of the database that holds the outbox, as lib/pq takes it; required. As a flag, "+
			"other users of the machine can see it", func(text string) (*pq.Connector, error) {
			d.given = d.given || text != ""
			return parseDatabaseURL(text)
		})
	define(s, cmd, &d.table, setting{flag: "table", variable: "EVENT_OUTBOX_TABLE", kind: "name", text: "event_outbox"},
		"the outbox table, with its schema if that is not on the search path", parseText)
}

const databaseURLForm = "postgres://user:password@host:5432/database?sslmode=require"

// check finds out whether there is a database at all.
func (d *databaseSettings) check() error {
	if !d.given {
		return errors.New("the database is not given: set DATABASE_URL, or --database-url, to " + databaseURLForm)
	}
	return nil
}

// parseDatabaseURL repeats nothing of the text: what is wrong in it may be the password.
func parseDatabaseURL(text string) (*pq.Connector, error) {
	if text == "" {
		return nil, nil
	}
	config, err := pq.NewConfig(text)
	if err != nil {
		return nil, errors.New("lib/pq cannot read it (not shown here, since it may hold a password); write " + databaseURLForm +
			", and %-escape what is special in the password")
	}
	if config.ApplicationName == "" {
		config.ApplicationName = "tailrace"
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 10 * time.Second
	}
	connector, err := pq.NewConnectorConfig(config)
	if err != nil {
		return nil, errors.New("lib/pq cannot use it: check its sslmode, certificates and hosts")
	}
	return connector, nil
}

// open returns a pool of at most limit connections, which are kept while they are in use at all.
func (d *databaseSettings) open(limit int) *sql.DB {
	db := sql.OpenDB(d.connector)
	db.SetMaxOpenConns(limit)
	db.SetMaxIdleConns(limit)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return db
}

// migrateCommandFor is the command that makes the table, as it is to be typed.
func (d *databaseSettings) migrateCommandFor() string {
	if d.table == "event_outbox" {
		return "tailrace migrate"
	}
	return fmt.Sprintf("tailrace migrate --table %q", d.table)
}
