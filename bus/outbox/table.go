package outbox

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
)

// DefaultTable is the outbox table's name when none is configured.
const DefaultTable = "event_outbox"

// maxTableName bounds the table's own name in bytes: PostgreSQL cuts identifiers at 63, and the names
// of indexes and helper tables are the table's with a suffix.
const maxTableName = 63 - len("_event_id_topic_key")

const maxIdentifier = 63

// table is the validated name of an outbox table and the names derived from it.
type table struct{ schema, name string }

// parseTable accepts "table" or "schema.table"; empty means [DefaultTable]. The parts are letters of
// either case, digits and underscores, not starting with a digit. They are used as they stand:
// PostgreSQL folds an unquoted Event_Outbox to event_outbox, this package does not.
func parseTable(name string) (table, error) {
	if name == "" {
		name = DefaultTable
	}
	schema, base, qualified := strings.Cut(name, ".")
	if !qualified {
		schema, base = "", name
	}
	var faults []error
	if qualified {
		if err := checkIdentifier("schema", schema, maxIdentifier); err != nil {
			faults = append(faults, err)
		}
	}
	if err := checkIdentifier("table", base, maxTableName); err != nil {
		faults = append(faults, err)
	}
	if len(faults) > 0 {
		return table{}, fmt.Errorf("outbox: table name %q: %w", name, errors.Join(faults...))
	}
	return table{schema: schema, name: base}, nil
}

func checkIdentifier(part, name string, limit int) error {
	if name == "" {
		return fmt.Errorf("the %s part is empty: write table or schema.table", part)
	}
	if len(name) > limit {
		return fmt.Errorf("the %s part has %d bytes, at most %d are possible", part, len(name), limit)
	}
	for i, r := range name {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return fmt.Errorf("the %s part must not have %q at byte %d: letters, digits and underscores are allowed, a digit not first", part, r, i)
		}
	}
	return nil
}

// quoted returns the name as it stands in SQL.
func (t table) quoted() string { return t.withSuffix("") }

// stateTable returns the name of the forwarder's state table as it stands in SQL.
func (t table) stateTable() string { return t.withSuffix("_forwarder") }

// versionTable returns the name of the table of applied migrations as it stands in SQL.
func (t table) versionTable() string { return t.withSuffix("_migrations") }

// uniqueIndex and retryIndex return names without schema: an index lives in its table's.
func (t table) uniqueIndex() string { return t.name + "_event_id_topic_key" }
func (t table) retryIndex() string  { return t.name + "_retry_idx" }

func (t table) withSuffix(suffix string) string {
	name := quoteIdentifier(t.name + suffix)
	if t.schema == "" {
		return name
	}
	return quoteIdentifier(t.schema) + "." + name
}

// lockKey returns the advisory lock of the table's owner. Advisory locks are local to a database, so
// the name is enough; a name without a schema counts as one in public.
func (t table) lockKey() int64 { return t.key("owner") }

// migrationKey returns the advisory lock of who migrates the table.
func (t table) migrationKey() int64 { return t.key("migration") }

func (t table) key(purpose string) int64 {
	schema := t.schema
	if schema == "" {
		schema = "public"
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte("tailrace outbox " + purpose + "\x00" + schema + "\x00" + t.name))
	return int64(h.Sum64()) //nolint:gosec // Any 64 bits are a key.
}

func quoteIdentifier(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// quoteLiteral is for names only, which have neither quotes nor backslashes after parseTable.
func quoteLiteral(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
