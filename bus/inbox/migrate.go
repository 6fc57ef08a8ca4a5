package inbox

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/tailrace-go/tailrace/internal/pgtable"
)

// DefaultLockTimeout is how long a migration waits for a lock that stops the table's writers.
const DefaultLockTimeout = pgtable.DefaultLockTimeout

// MigrateConfig is how [Migrate] goes about it. The zero value is fit for production.
type MigrateConfig struct {
	// Table is the inbox table, "table" or "schema.table". Default: [DefaultTable].
	Table string
	// LockTimeout bounds each wait for a lock that stops the table's writers; what does not get it in
	// time is tried again later. Default: [DefaultLockTimeout].
	LockTimeout time.Duration
	// Logger tells what is waited for. Default: nothing is logged.
	Logger *slog.Logger
}

func (c MigrateConfig) complete() (MigrateConfig, table, error) {
	t, tableErr := parseTable(c.Table)
	timeout, timeoutErr := pgtable.LockTimeout("inbox", c.LockTimeout)
	c.LockTimeout = timeout
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, t, errors.Join(tableErr, timeoutErr)
}

// Report says what [Migrate] did.
type Report struct {
	// Table is the table's name with its schema, quoted as in SQL.
	Table string
	// From and To are the versions before and after; From is 0 for a table that was never migrated.
	From, To int64
	// Created is true when there was no table before.
	Created bool
}

// Migrate creates the inbox table, or brings the one that is there up to date. Any number of processes
// may call it at once; one works, the others wait. It needs one connection of db; a step that cannot get
// its lock is tried again until ctx ends.
//
// errors.Is(err, [ErrShape]) is a table of that name that is no inbox, errors.Is(err, [ErrServer]) a
// standby, or PostgreSQL before 14.
func Migrate(ctx context.Context, db *sql.DB, config MigrateConfig) (Report, error) {
	config, t, err := config.complete()
	if err != nil {
		return Report{}, err
	}
	if db == nil {
		return Report{}, errors.New("inbox: Migrate needs a database")
	}
	var report Report
	err = pgtable.Insist(ctx, config.Logger, "inbox", func() (string, error) {
		var err error
		report, err = migrate(ctx, db, t, config.LockTimeout)
		return report.Table, err
	})
	return report, err
}

// migrate begins by looking, so that it can be called again after any error.
func migrate(ctx context.Context, db *sql.DB, t table, lockTimeout time.Duration) (Report, error) {
	report := Report{Table: t.Quoted()}
	failed := func(err error) (Report, error) {
		return report, fmt.Errorf("inbox: migrate %s: %w", report.Table, err)
	}
	if err := pgtable.CheckServer(ctx, db, ErrServer); err != nil {
		return failed(err)
	}
	name, _, err := t.Resolve(ctx, db)
	if err != nil {
		return failed(err)
	}
	t = table{name}
	report.Table = t.Quoted()
	migrations := t.migrations(lockTimeout)
	err = migrations.Locked(ctx, db, func(ctx context.Context, conn *sql.Conn) error {
		_, exists, err := t.Resolve(ctx, conn)
		if err != nil {
			return err
		}
		report.Created = !exists
		if exists {
			// Before anything is made beside a table that is somebody else's.
			if err := checkShape(ctx, conn, t); err != nil {
				return err
			}
		}
		report.From, err = migrations.EnsureVersions(ctx, conn)
		return err
	})
	if err != nil {
		return failed(err)
	}
	provider, err := migrations.Provider(db)
	if err != nil {
		return failed(err)
	}
	results, err := provider.Up(ctx)
	if err != nil {
		return failed(err)
	}
	// Another process may have been quicker between the two locks.
	report.Created = report.Created && len(results) > 0
	if report.To, err = provider.GetDBVersion(ctx); err != nil {
		return failed(err)
	}
	if err := Check(ctx, db, t.given()); err != nil {
		return report, err
	}
	return report, nil
}

// PrintMigrations writes the migrations as SQL for psql. Statements are separated by blank lines. They
// may be run again, and record their versions where [Migrate] looks for them. TableName may be qualified;
// empty means [DefaultTable].
func PrintMigrations(w io.Writer, tableName string) error {
	t, err := parseTable(tableName)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "-- Inbox table %s. Run with psql; a statement that ends in a lock timeout may be run again.\n\n", t.Quoted())
	if err := t.migrations(DefaultLockTimeout).Print(&out, nil); err != nil {
		return fmt.Errorf("inbox: %w", err)
	}
	_, err = w.Write(out.Bytes())
	return err
}
