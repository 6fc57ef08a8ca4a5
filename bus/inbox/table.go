package inbox

import (
	"cmp"
	"embed"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/tailrace-go/tailrace/internal/pgtable"
)

// DefaultTable is the inbox table's name when none is configured.
const DefaultTable = "event_inbox"

// maxTableName leaves room for the names that are derived from the table's.
const maxTableName = pgtable.MaxIdentifier - len("_handled_at_idx")

//go:embed migrations/*.sql
var migrationFiles embed.FS

type table struct{ pgtable.Name }

// parseTable accepts what [pgtable.Parse] does; empty means [DefaultTable].
func parseTable(name string) (table, error) {
	parsed, err := pgtable.Parse(cmp.Or(name, DefaultTable), maxTableName)
	if err != nil {
		return table{}, fmt.Errorf("inbox: %w", err)
	}
	return table{parsed}, nil
}

// CheckName reports what is wrong with a table's name, "table" or "schema.table"; nil for none.
func CheckName(name string) error {
	_, err := parseTable(name)
	return err
}

// purgeKey is the advisory lock of who purges the table.
func (t table) purgeKey() int64 { return t.Key("inbox purge") }

func (t table) migrations(lockTimeout time.Duration) pgtable.Migrations {
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		panic(err) // The directory is embedded: it is there.
	}
	return pgtable.Migrations{
		Files: files, Versions: t.Sibling("_migrations"), Key: t.Key("inbox migration"), LockTimeout: lockTimeout,
		Names: strings.NewReplacer(
			"{{table}}", t.Quoted(),
			"{{age_index}}", pgtable.QuoteIdentifier(t.Base+"_handled_at_idx"),
		),
	}
}

// given returns the name as one writes it in a configuration.
func (t table) given() string {
	if t.Schema == "" {
		return t.Base
	}
	return t.Schema + "." + t.Base
}
