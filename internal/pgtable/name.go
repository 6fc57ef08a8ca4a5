package pgtable

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
)

// MaxIdentifier is where PostgreSQL cuts identifiers, in bytes.
const MaxIdentifier = 63

// Name is a table's checked name. Schema is "" when the name was given without one.
type Name struct{ Schema, Base string }

// Parse accepts "table" or "schema.table"; limit bounds the table's own name in bytes, so that names
// derived from it fit. The parts are letters of either case, digits and underscores, not starting with a
// digit. They are used as they stand: PostgreSQL folds an unquoted Event_Outbox to event_outbox, this
// package does not.
func Parse(name string, limit int) (Name, error) {
	schema, base, qualified := strings.Cut(name, ".")
	if !qualified {
		schema, base = "", name
	}
	var faults []error
	if qualified {
		if err := checkIdentifier("schema", schema, MaxIdentifier); err != nil {
			faults = append(faults, err)
		}
	}
	if err := checkIdentifier("table", base, limit); err != nil {
		faults = append(faults, err)
	}
	if len(faults) > 0 {
		return Name{}, fmt.Errorf("table name %q: %w", name, errors.Join(faults...))
	}
	return Name{Schema: schema, Base: base}, nil
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

// Quoted returns the name as it stands in SQL.
func (n Name) Quoted() string { return n.Sibling("") }

// Sibling returns the name with a suffix, in the same schema, as it stands in SQL.
func (n Name) Sibling(suffix string) string {
	name := QuoteIdentifier(n.Base + suffix)
	if n.Schema == "" {
		return name
	}
	return QuoteIdentifier(n.Schema) + "." + name
}

// Key returns the advisory lock for a purpose. Advisory locks are local to a database, so the name is
// enough; a name without a schema counts as one in public.
func (n Name) Key(purpose string) int64 {
	schema := n.Schema
	if schema == "" {
		schema = "public"
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte("tailrace " + purpose + "\x00" + schema + "\x00" + n.Base))
	return int64(h.Sum64()) //nolint:gosec // Any 64 bits are a key.
}

// QuoteIdentifier quotes a name for SQL.
func QuoteIdentifier(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// QuoteLiteral quotes a string for SQL. It is for names only, which have neither quotes nor backslashes
// after [Parse].
func QuoteLiteral(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
