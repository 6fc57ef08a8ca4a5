package watermillsql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/tailrace-go/tailrace/internal/pgtable"
)

// TableStatus is how Watermill's tables stand for a consumer group.
type TableStatus struct {
	// Messages and Offsets are the tables as they stand in SQL.
	Messages, Offsets, ConsumerGroup string
	// Started: the group has a position. Transaction and Offset are it: all messages up to it are delivered.
	Started             bool
	Transaction, Offset int64
	// Behind is how many messages are behind the position, 10,000 for that many or more, and Oldest the age
	// of the first of them by its created_at, which has no time zone: it takes the server's for the
	// publisher's.
	Behind int64
	Oldest time.Duration
	// Writer is the server process whose transaction in this database is open and has written for the
	// longest time, 0 for none, and WritesFor how long it is open. No message that was begun to be written
	// later can be delivered before it ends.
	Writer    int
	WritesFor time.Duration
}

// Backlog is the most that TableStatus.Behind counts.
const Backlog = backlogLimit

// Inspect reads how the tables of the configuration's Topic stand for its ConsumerGroup. Only these, Schema,
// Offsets and DB are looked at. The error is one of [ErrNoTable], [ErrShape] and [ErrServer], or the
// database's.
func Inspect(ctx context.Context, config Config) (TableStatus, error) {
	if config.DB == nil {
		return TableStatus{}, errors.New("watermillsql: Inspect needs a DB: pass the *sql.DB that holds Watermill's tables")
	}
	if config.Topic == "" {
		config.Topic = DefaultTopic
	}
	if err := checkTopic(config.Topic); err != nil {
		return TableStatus{}, fmt.Errorf("watermillsql: %w", err)
	}
	t := tablesOf(&config)
	s := TableStatus{Messages: t.messages, Offsets: t.offsets, ConsumerGroup: t.group}
	if err := t.check(ctx, config.DB); err != nil {
		return s, err
	}
	at, err := t.recorded(ctx, config.DB)
	switch {
	case err == nil:
		s.Started = true
	case errors.Is(err, sql.ErrNoRows), pgtable.SQLState(err) == pgtable.UndefinedTable:
	default:
		return s, wrap("read the position", err)
	}
	s.Transaction, s.Offset = at.transaction, at.offset
	if s.Behind, s.Oldest, err = t.behind(ctx, config.DB, at); err != nil {
		return s, err
	}
	var seconds float64
	err = config.DB.QueryRowContext(ctx, `SELECT pid, coalesce(date_part('epoch', clock_timestamp() - xact_start), 0) FROM pg_stat_activity
		WHERE datname = current_database() AND backend_xid IS NOT NULL ORDER BY age(backend_xid) DESC LIMIT 1`).Scan(&s.Writer, &seconds)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return s, wrap("read who writes to the database", err)
	}
	s.WritesFor = time.Duration(seconds * float64(time.Second))
	return s, nil
}
