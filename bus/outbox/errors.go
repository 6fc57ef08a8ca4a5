package outbox

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/tailrace-go/tailrace/internal/pgtable"
)

var (
	// ErrNoTable: the outbox table, or the forwarder's state table beside it, is not there.
	ErrNoTable = errors.New("outbox: the table does not exist")
	// ErrNotMigrated: the table is there, but lacks what a migration adds.
	ErrNotMigrated = errors.New("outbox: the table is not up to date")
	// ErrShape: the table has a column, a default or a sequence that the outbox cannot work with.
	ErrShape = errors.New("outbox: the table's shape does not fit")
	// ErrServer: the server is too old or is in recovery.
	ErrServer = errors.New("outbox: the server cannot hold an outbox")
	// ErrDuplicate: an event with this id was written for this topic before.
	ErrDuplicate = errors.New("outbox: duplicate event id")
	// ErrRowsOpen: the transaction's connection is still busy with a query.
	ErrRowsOpen = errors.New("outbox: a query's rows are still open on this transaction")
	// ErrMessage: a message cannot be stored as a row.
	ErrMessage = errors.New("outbox: the message cannot be stored")
)

// PostgreSQL manual, appendix A.
const (
	stateUniqueViolation = "23505"
	stateNoStatement     = "26000" // invalid_sql_statement_name
	stateStatementExists = "42P05" // duplicate_prepared_statement
)

// explainWrite says what a failed INSERT means and what to do about it.
func explainWrite(t table, err error) error {
	switch pgtable.SQLState(err) {
	case stateUniqueViolation:
		return fmt.Errorf("%w: it is in %s already, and the transaction is aborted now: publish under a new id, or use Republish to write the same event again on purpose: %w", ErrDuplicate, t.quoted(), err)
	case pgtable.UndefinedTable:
		return fmt.Errorf("%w: %s: create it with `tailrace migrate`: %w", ErrNoTable, t.quoted(), err)
	case pgtable.UndefinedColumn:
		return fmt.Errorf("%w: %s: bring it up to date with `tailrace migrate`: %w", ErrNotMigrated, t.quoted(), err)
	}
	if code := pgtable.SQLState(err); code == stateNoStatement || code == stateStatementExists {
		return fmt.Errorf("outbox: write to %s: a pooler between gives the session to others, and a prepared statement with it: leave WriterConfig.Prepare off, or have the pooler keep prepared statements (PgBouncer's max_prepared_statements): %w", t.quoted(), err)
	}
	if strings.Contains(err.Error(), "statement from different database used") { // database/sql's, before anything is sent
		return fmt.Errorf("outbox: write to %s: WriterConfig.Prepare is set, and the transaction is of another *sql.DB than WriterConfig.DB: give the writer that one, or leave Prepare off: %w", t.quoted(), err)
	}
	if noPartition(err) {
		return fmt.Errorf("%w: no forwarder has made partitions of %s for too long: make some with `tailrace migrate`: %w", ErrNoPartition, t.quoted(), err)
	}
	// lib/pq and pgx have no SQLSTATE for this: the request never left.
	if text := err.Error(); strings.Contains(text, "already a query being processed") || strings.Contains(text, "conn busy") {
		return fmt.Errorf("%w: read them to the end or close them before publishing: %w", ErrRowsOpen, err)
	}
	// Through database/sql, pgx says of open rows only that.
	if errors.Is(err, driver.ErrBadConn) {
		return fmt.Errorf("outbox: write to %s: the connection is gone, or a query's rows are still open on it: %w", t.quoted(), err)
	}
	return fmt.Errorf("outbox: write to %s: %w", t.quoted(), err)
}
