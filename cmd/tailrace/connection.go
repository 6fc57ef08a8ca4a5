package main

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/lib/pq"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tailrace-go/tailrace/bus/connect"
)

// share adds a setting that bus/connect knows by its variable, which also has its default.
func (s *settings) share(cmd *cobra.Command, one setting, usage string) {
	one.text = standard(one.variable)
	one.add(cmd.Flags(), usage)
	s.shared = append(s.shared, &one)
}

// standard returns the default of a variable of bus/connect.
func standard(variable string) string {
	for field := range reflect.TypeFor[connect.Config]().Fields() {
		if field.Tag.Get("env") == variable {
			return field.Tag.Get("envDefault")
		}
	}
	panic("bus/connect has no variable " + variable)
}

func (s *settings) shareDatabase(cmd *cobra.Command) {
	s.share(cmd, setting{flag: "database-url", variable: "DATABASE_URL", kind: "url"},
		"connection string of the database that holds the outbox, as lib/pq takes it; required. Other users of the machine can see a flag")
	s.share(cmd, setting{flag: "table", variable: "EVENT_OUTBOX_TABLE", kind: "name"},
		"the outbox table, with its schema if that is not on the search path")
}

func (s *settings) shareKafka(cmd *cobra.Command) {
	s.share(cmd, setting{flag: "kafka-brokers", variable: "KAFKA_BROKERS", kind: "host:port,…"},
		"brokers to start from, comma-separated; the others are learnt from them")
	s.share(cmd, setting{flag: "kafka-security-protocol", variable: "KAFKA_SECURITY_PROTOCOL", kind: "protocol"},
		"PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")
	s.share(cmd, setting{flag: "kafka-sasl-mechanism", variable: "KAFKA_SASL_MECHANISM", kind: "mechanism"},
		"PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
	s.share(cmd, setting{flag: "kafka-sasl-username", variable: "KAFKA_SASL_USERNAME", kind: "name"},
		"user to authenticate as. The password comes from KAFKA_SASL_PASSWORD only, since other users of the machine can see flags")
	s.share(cmd, setting{flag: "kafka-ssl-ca-file", variable: "KAFKA_SSL_CA_FILE", kind: "path"},
		"PEM file of the authorities to trust instead of the system's")
	s.share(cmd, setting{flag: "kafka-ssl-cert-file", variable: "KAFKA_SSL_CERT_FILE", kind: "path"},
		"PEM file of the client's certificate")
	s.share(cmd, setting{flag: "kafka-ssl-key-file", variable: "KAFKA_SSL_KEY_FILE", kind: "path"},
		"PEM file of the client's key")
}

// connect returns what bus/connect reads from the environment with the flags put over it, and every
// mistake in it. A database is needed when asked for.
func (s *settings) connect(flags *pflag.FlagSet, environ map[string]string, database bool) (connect.Config, error) {
	environ, names := s.over(flags, environ)
	return load(environ, names, database)
}

// over puts the flags over the environment. It also returns how mistakes in them are to be called.
func (s *settings) over(flags *pflag.FlagSet, environ map[string]string) (map[string]string, *strings.Replacer) {
	environ = maps.Clone(environ)
	var names []string // old, new, old, new, …
	for _, one := range s.shared {
		if flags.Changed(one.flag) {
			environ[one.variable] = one.text
			names = append(names, one.variable+":", "--"+one.flag+":")
		}
	}
	return environ, strings.NewReplacer(names...)
}

func load(environ map[string]string, names *strings.Replacer, database bool) (connect.Config, error) {
	config, err := connect.Load(environ)
	// Which way a service publishes is not this process's matter; false has all of Kafka checked.
	direct := false
	config.UseOutbox = &direct
	faults := []error{err, config.Validate()}
	if database && config.DatabaseURL == "" {
		faults = append(faults, errors.New("DATABASE_URL: is not set: set it, or --database-url, to postgres://user:password@host:5432/database"))
	}
	if err := errors.Join(faults...); err != nil {
		text := strings.ReplaceAll(err.Error(), connect.ErrConfig.Error()+": ", "")
		return config, errors.New(names.Replace(text))
	}
	return config, nil
}

// openDatabase returns a pool of at most limit connections, 0 for any number, which are kept while they are in
// use at all. It connects to nothing yet.
func openDatabase(dsn connect.DSN, limit int) (*sql.DB, error) {
	unusable := usageError{fmt.Errorf("DATABASE_URL: lib/pq cannot use %s: check its sslmode, certificates and hosts", dsn)}
	database, err := pq.NewConfig(string(dsn))
	if err != nil {
		return nil, unusable // The error may repeat a password.
	}
	database.ApplicationName = cmp.Or(database.ApplicationName, "tailrace")
	database.ConnectTimeout = cmp.Or(database.ConnectTimeout, 10*time.Second)
	connector, err := pq.NewConnectorConfig(database)
	if err != nil {
		return nil, unusable
	}
	connector.Dialer(newDialer(mostSilence))
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(limit)
	db.SetMaxIdleConns(limit)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return db, nil
}

// migrateCommandFor is the command that makes the table, as it is to be typed.
func migrateCommandFor(table string) string {
	if table == standard("EVENT_OUTBOX_TABLE") {
		return "tailrace migrate"
	}
	return fmt.Sprintf("tailrace migrate --table %q", table)
}

// environment is the process's.
func environment() map[string]string { return env.ToMap(os.Environ()) }
