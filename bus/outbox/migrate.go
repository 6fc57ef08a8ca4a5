package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/tailrace-go/tailrace/internal/pgtable"
)

// DefaultLockTimeout is how long a migration waits for a lock that stops the table's writers. Writers
// queue behind the wait, so it is what they may notice.
const DefaultLockTimeout = pgtable.DefaultLockTimeout

// MigrateConfig is how [Migrate] goes about it. The zero value is fit for production.
type MigrateConfig struct {
	// Table is the outbox table, "table" or "schema.table". Default: [DefaultTable].
	Table string
	// Shards, if not 0, splits the table into so many, each a table of its own, or into more than it has.
	// Fewer than it has are refused. Default: as many as there are; a table that was never split stays one.
	Shards int
	// Rewrite also does what stops publishers for as long as it takes, or what their code may depend
	// on: it widens the ids of a table of any size (about 4 s a million rows) and drops a UNIQUE
	// (event_id) that the unique (event_id, topic) replaces.
	Rewrite bool
	// Partitioned makes a new table one of partitions by id, so that what is past its retention is dropped and
	// not deleted. A table that is there stays what it is; a plain one with Partitioned is an error.
	Partitioned bool
	// PartitionRows is how many ids a partition has that is made from now on. Default: as many as the one
	// before, [DefaultPartitionRows] for the first. Of a plain table it has no meaning.
	PartitionRows int64
	// LockTimeout bounds each wait for a lock that stops the table's writers; what does not get it in
	// time is tried again later. Default: [DefaultLockTimeout].
	LockTimeout time.Duration
	// Logger tells what is done and what is waited for. Default: nothing is logged.
	Logger *slog.Logger
}

func (c MigrateConfig) complete() (MigrateConfig, table, error) {
	t, tableErr := parseTable(c.Table)
	timeout, timeoutErr := pgtable.LockTimeout("outbox", c.LockTimeout)
	c.LockTimeout = timeout
	var partitionErr error
	if c.PartitionRows != 0 && c.PartitionRows < MinPartitionRows {
		partitionErr = fmt.Errorf("outbox: MigrateConfig.PartitionRows is %d: at least %d, or 0 for %d", c.PartitionRows, MinPartitionRows, DefaultPartitionRows)
	}
	if c.Partitioned && len(t.Base) > maxPartitionedName {
		partitionErr = errors.Join(partitionErr, fmt.Errorf("outbox: table %s has a name of %d bytes, at most %d are possible with partitions", t.quoted(), len(t.Base), maxPartitionedName))
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	var shardsErr error
	if tableErr == nil && c.Shards != 0 {
		shardsErr = checkShards(t, c.Shards)
	}
	return c, t, errors.Join(tableErr, timeoutErr, partitionErr, shardsErr)
}

// Report says what [Migrate] did and what it left.
type Report struct {
	// Table is the table's name with its schema, quoted as in SQL.
	Table string
	// From and To are the versions before and after; From is 0 for a table that was never migrated.
	From, To int64
	// Created is true when there was no table before.
	Created bool
	// Rewritten says what was done beyond the versions, one sentence each.
	Rewritten []string
	// Postponed says what waits for MigrateConfig.Rewrite, and why.
	Postponed []string
	// Warnings says what the operator should know of, such as an index that slows the forwarder.
	Warnings []string
	// Shards are the reports of the further shards, in order, none for a table that is not split.
	Shards []Report
}

// Migrate creates the outbox table, or brings the one that is there up to date with its rows. Any
// number of processes may call it at once; one works, the others wait. Publishers go on writing: no
// step holds a lock that stops them for longer than LockTimeout plus a moment, unless Rewrite is set.
//
// It needs one connection of db, and ctx is what bounds it: a step that cannot get its lock is tried
// again until ctx ends, and CREATE INDEX CONCURRENTLY waits for every transaction that is open in the
// database. What was done until then stays, and the next call goes on from there.
//
// errors.Is(err, [ErrShape]) is a table that no migration mends; the text names each fault's cure.
// errors.Is(err, [ErrServer]) is a standby, or PostgreSQL before 14.
func Migrate(ctx context.Context, db *sql.DB, config MigrateConfig) (Report, error) {
	config, t, err := config.complete()
	if err != nil {
		return Report{}, err
	}
	if db == nil {
		return Report{}, errors.New("outbox: Migrate needs a database")
	}
	m := &migrator{db: db, config: config, table: t}
	if err := m.insist(ctx, m.run); err != nil {
		return m.report, err
	}
	return m.report, m.insist(ctx, m.split)
}

// migrateTable migrates one table by itself.
func migrateTable(ctx context.Context, db *sql.DB, config MigrateConfig, t table) (Report, error) {
	m := &migrator{db: db, config: config, table: t}
	err := m.insist(ctx, m.run)
	return m.report, err
}

// insist does it again for as long as it gives way to somebody's lock.
func (m *migrator) insist(ctx context.Context, do func(context.Context) error) error {
	return pgtable.Insist(ctx, m.config.Logger, "outbox", func() (string, error) {
		err := do(ctx)
		return m.table.quoted(), err
	})
}

type migrator struct {
	db     *sql.DB
	config MigrateConfig
	table  table
	report Report
	// partitioned: the table is, or is going to be.
	partitioned bool
	// tooLong is set once the ids took too long to widen beside live publishers.
	tooLong bool
}

// run does all that is still to do. It begins by looking, so that it can be called again after any
// error.
func (m *migrator) run(ctx context.Context) error {
	// A retry reports what was there when the call began, and all that was done since.
	first := m.report
	m.report = Report{Rewritten: first.Rewritten}
	if err := checkServer(ctx, m.db); err != nil {
		return err
	}
	t, exists, err := resolve(ctx, m.db, m.table)
	if err != nil {
		return err
	}
	m.table, m.partitioned = t, m.config.Partitioned
	m.report.Table, m.report.Created = t.quoted(), !exists
	if err := m.locked(ctx, m.prepare); err != nil {
		return err
	}
	if first.Table != "" {
		m.report.Created, m.report.From = first.Created, first.From
	}
	if err := m.apply(ctx); err != nil {
		return err
	}
	return m.locked(ctx, func(ctx context.Context, conn *sql.Conn) error {
		if err := m.finish(ctx, conn); err != nil {
			return err
		}
		if m.partitioned {
			p := &Partitions{db: m.db, table: m.table}
			made, _, err := p.extend(ctx, conn, m.config.PartitionRows)
			if err != nil {
				return err
			}
			if made > 0 && !m.report.Created {
				m.report.Rewritten = append(m.report.Rewritten, fmt.Sprintf("made partitions: %d", made))
			}
		}
		s, err := inspect(ctx, conn, m.table)
		if err != nil {
			return err
		}
		for _, name := range s.slowIndexes() {
			m.report.Warnings = append(m.report.Warnings, fmt.Sprintf(
				"index %s names processed_at, which makes marking events as processed about three times slower: drop it if nothing needs it", name))
		}
		return nil
	})
}

// prepare looks at what is there, refuses what cannot be mended, makes the version table and widens ids
// before there are more indexes to rebuild.
func (m *migrator) prepare(ctx context.Context, conn *sql.Conn) error {
	s, err := inspect(ctx, conn, m.table)
	missing := errors.Is(err, ErrNoTable)
	if err != nil && !missing {
		return err
	}
	if !missing {
		if err := s.faults(m.table); err != nil {
			return err
		}
		if m.config.Partitioned && !s.partitioned() {
			return fmt.Errorf("%w: %s is there and has no partitions, which it cannot get while it is written to: make a partitioned table under another name, have the publishers write there, and let a forwarder empty this one", ErrShape, m.table.quoted())
		}
		m.partitioned = s.partitioned()
	}
	if err := m.ensureVersions(ctx, conn); err != nil || missing {
		return err
	}
	return m.widenIDs(ctx, conn, s)
}

// ensureVersions makes goose's table and notes the version that the table is at.
func (m *migrator) ensureVersions(ctx context.Context, conn *sql.Conn) (err error) {
	if m.report.From, err = m.migrations().EnsureVersions(ctx, conn); err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	return nil
}

func (m *migrator) migrations() pgtable.Migrations {
	return m.table.migrations(m.partitioned, m.config.LockTimeout)
}

// locked runs do on a connection that holds the migration lock.
func (m *migrator) locked(ctx context.Context, do func(context.Context, *sql.Conn) error) error {
	var failed error
	err := m.migrations().Locked(ctx, m.db, func(ctx context.Context, conn *sql.Conn) error {
		failed = do(ctx, conn)
		return failed
	})
	if err != nil && failed == nil {
		return fmt.Errorf("outbox: %w", err)
	}
	return err
}

// apply runs the versions that are missing. When all are recorded and something is missing none the
// less (an index that a reindexing left invalid, a table restored in part), it runs them again: each
// may be.
func (m *migrator) apply(ctx context.Context) error {
	provider, err := m.migrations().Provider(m.db)
	if err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	results, err := provider.Up(ctx)
	if err != nil {
		return fmt.Errorf("outbox: migrate %s: %w", m.table.quoted(), err)
	}
	for _, result := range results {
		m.config.Logger.InfoContext(ctx, "outbox migration applied", "table", m.table.quoted(), "version", result.Source.Version,
			"file", result.Source.Path, "duration", result.Duration)
	}
	if m.report.To, err = provider.GetDBVersion(ctx); err != nil {
		return fmt.Errorf("outbox: read the version of %s: %w", m.table.quoted(), err)
	}
	s, err := inspect(ctx, m.db, m.table)
	if err != nil && !errors.Is(err, ErrNoTable) {
		return err
	}
	if err == nil && len(s.pendingWork(m.table)) == 0 {
		return nil
	}
	again, err := m.migrations().Provider(m.db, goose.WithDisableVersioning(true))
	if err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	if _, err := again.Up(ctx); err != nil {
		return fmt.Errorf("outbox: mend %s: %w", m.table.quoted(), err)
	}
	if s, err = inspect(ctx, m.db, m.table); err != nil {
		return err
	}
	if work := s.pendingWork(m.table); len(work) > 0 {
		return fmt.Errorf("%w: %s still lacks %v", ErrNotMigrated, m.table.quoted(), work)
	}
	m.report.Rewritten = append(m.report.Rewritten, "mended what an earlier run or another hand left undone")
	return nil
}
