package outbox

import (
	"cmp"
	"fmt"

	"github.com/tailrace-go/tailrace/internal/pgtable"
)

// DefaultTable is the outbox table's name when none is configured.
const DefaultTable = "event_outbox"

// maxTableName bounds the table's own name in bytes: PostgreSQL cuts identifiers at 63, and the names
// of indexes and helper tables are the table's with a suffix.
const maxTableName = pgtable.MaxIdentifier - len("_event_id_topic_key")

// table is the validated name of an outbox table and the names derived from it.
type table struct{ pgtable.Name }

// parseTable accepts what [pgtable.Parse] does; empty means [DefaultTable].
func parseTable(name string) (table, error) {
	parsed, err := pgtable.Parse(cmp.Or(name, DefaultTable), maxTableName)
	if err != nil {
		return table{}, fmt.Errorf("outbox: %w", err)
	}
	return table{parsed}, nil
}

// quoted returns the name as it stands in SQL.
func (t table) quoted() string { return t.Quoted() }

// stateTable returns the name of the forwarder's state table as it stands in SQL.
func (t table) stateTable() string { return t.Sibling("_forwarder") }

// versionTable returns the name of the table of applied migrations as it stands in SQL.
func (t table) versionTable() string { return t.Sibling("_migrations") }

// uniqueIndex and retryIndex return names without schema: an index lives in its table's.
func (t table) uniqueIndex() string { return t.Base + "_event_id_topic_key" }
func (t table) retryIndex() string  { return t.Base + "_retry_idx" }

// lockKey returns the advisory lock of the table's owner.
func (t table) lockKey() int64 { return t.Key("outbox owner") }

// migrationKey returns the advisory lock of who migrates the table.
func (t table) migrationKey() int64 { return t.Key("outbox migration") }
