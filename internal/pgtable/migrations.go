package pgtable

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

// Migrations are the versioned steps that make a table. Each may be run again without harm.
type Migrations struct {
	// Files are goose's SQL files; Names fills the table's names in.
	Files fs.FS
	Names *strings.Replacer
	// Versions is the table of applied versions as it stands in SQL.
	Versions string
	// Key is the advisory lock of who migrates the table.
	Key int64
	// LockTimeout bounds each wait for a lock.
	LockTimeout time.Duration
}

func (m Migrations) locker() locker { return locker{m.Key, m.LockTimeout} }

// Locked runs do on a connection of db that holds the migration lock.
func (m Migrations) Locked(ctx context.Context, db *sql.DB, do func(context.Context, *sql.Conn) error) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if err := m.locker().SessionLock(ctx, conn); err != nil {
		return err
	}
	return errors.Join(do(ctx, conn), m.locker().SessionUnlock(ctx, conn))
}

// EnsureVersions makes goose's table, for which goose itself takes no lock, and returns the latest
// version that it has: 0 for a table that was never migrated.
func (m Migrations) EnsureVersions(ctx context.Context, conn *sql.Conn) (int64, error) {
	store, err := m.store()
	if err != nil {
		return 0, err
	}
	if version, there, err := store.version(ctx, conn); err != nil || there {
		return version, err
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return 0, fmt.Errorf("create %s: %w", m.Versions, err)
	}
	defer func() { _ = tx.Rollback() }()
	if err := store.CreateVersionTable(ctx, tx); err != nil {
		return 0, fmt.Errorf("create %s: %w", m.Versions, err)
	}
	if err := store.Insert(ctx, tx, database.InsertRequest{Version: 0}); err != nil {
		return 0, fmt.Errorf("write to %s: %w", m.Versions, err)
	}
	if err := tx.Commit(); err != nil {
		return 0, fmt.Errorf("create %s: %w", m.Versions, err)
	}
	return 0, nil
}

// Version returns the latest version that the table has, 0 if it was never migrated.
func (m Migrations) Version(ctx context.Context, db database.DBTxConn) (int64, error) {
	store, err := m.store()
	if err != nil {
		return 0, err
	}
	version, _, err := store.version(ctx, db)
	return version, err
}

// Provider returns what applies the versions that are missing, under the migration lock.
func (m Migrations) Provider(db *sql.DB, options ...goose.ProviderOption) (*goose.Provider, error) {
	store, err := m.store()
	if err != nil {
		return nil, err
	}
	provider, err := goose.NewProvider(goose.DialectCustom, db, m.filled(), append(options,
		goose.WithStore(store), goose.WithSessionLocker(m.locker()), goose.WithDisableGlobalRegistry(true),
		goose.WithSlog(slog.New(slog.DiscardHandler)))...)
	if err != nil {
		return nil, fmt.Errorf("load the migrations: %w", err)
	}
	return provider, nil
}

// Retryable reports whether a migration's error is a lock that could not be had in time.
func Retryable(err error) bool {
	switch SQLState(err) {
	case LockNotAvailable, Deadlock:
		return true
	}
	return false
}

// versionStore is goose's PostgreSQL store under a quoted table name.
type versionStore struct {
	database.Store
	name string
}

func (m Migrations) store() (*versionStore, error) {
	store, err := database.NewStore(database.DialectPostgres, m.Versions)
	if err != nil {
		return nil, fmt.Errorf("open the version table: %w", err)
	}
	return &versionStore{Store: store, name: m.Versions}, nil
}

// TableExists is asked by goose instead of provoking an error. Its own version does not know quotes.
func (s *versionStore) TableExists(ctx context.Context, db database.DBTxConn) (exists bool, err error) {
	err = db.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, s.name).Scan(&exists)
	return exists, err
}

func (s *versionStore) version(ctx context.Context, db database.DBTxConn) (version int64, there bool, err error) {
	if there, err = s.TableExists(ctx, db); err != nil || !there {
		return 0, false, wrap("look for "+s.name, err)
	}
	version, err = s.GetLatestVersion(ctx, db)
	return version, true, wrap("read "+s.name, err)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
