package outbox

import (
	"bytes"
	"cmp"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/tailrace-go/tailrace/internal/pgtable"
)

// indexVersion is the migration that makes indexes; ids are widened before, so that it rebuilds none.
const indexVersion = 3

//go:embed migrations/*.sql migrations_partitioned/*.sql
var migrationFiles embed.FS

// partitionedFiles are the migrations of a partitioned table: those of a plain one, some of them replaced.
type partitionedFiles struct{}

func (partitionedFiles) Open(name string) (fs.File, error) {
	if file, err := migrationFiles.Open(path.Join("migrations_partitioned", name)); err == nil && name != "." {
		return file, nil
	}
	return migrationFiles.Open(path.Join("migrations", name))
}

// migrations returns the embedded migrations with the table's names filled in.
func (t table) migrations(partitioned bool, lockTimeout time.Duration) pgtable.Migrations {
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		panic(err) // The directory is embedded: it is there.
	}
	if partitioned {
		files = partitionedFiles{}
	}
	index := func(name string) string {
		return pgtable.Name{Schema: t.Schema, Base: name}.Quoted()
	}
	return pgtable.Migrations{
		Files: files, Versions: t.versionTable(), Key: t.migrationKey(), LockTimeout: lockTimeout,
		Names: strings.NewReplacer(
			"{{table}}", t.quoted(),
			"{{table_literal}}", pgtable.QuoteLiteral(t.quoted()),
			"{{state_table}}", t.stateTable(),
			"{{unique_index}}", pgtable.QuoteIdentifier(t.uniqueIndex()),
			"{{unique_index_qualified}}", index(t.uniqueIndex()),
			"{{unique_index_literal}}", pgtable.QuoteLiteral(index(t.uniqueIndex())),
			"{{retry_index}}", pgtable.QuoteIdentifier(t.retryIndex()),
			"{{retry_index_qualified}}", index(t.retryIndex()),
			"{{retry_index_literal}}", pgtable.QuoteLiteral(index(t.retryIndex())),
			"{{lock_timeout}}", pgtable.QuoteLiteral(strconv.FormatInt(lockTimeout.Milliseconds(), 10)+"ms"),
		),
	}
}

// PrintMigrations writes the migrations as SQL for psql, each statement its own and none wrapped in a
// transaction by the caller (CREATE INDEX CONCURRENTLY does not run in one). Statements are separated
// by blank lines. They may be run again, and record their versions where [Migrate] looks for them.
// TableName may be qualified; empty means [DefaultTable].
func PrintMigrations(w io.Writer, tableName string) error {
	return printMigrations(w, MigrateConfig{Table: tableName})
}

// PrintPartitionedMigrations is PrintMigrations for a new table in partitions of that many ids, 0 for
// [DefaultPartitionRows]. The partitions that it makes are the first; the forwarder makes the others.
func PrintPartitionedMigrations(w io.Writer, tableName string, partitionRows int64) error {
	return printMigrations(w, MigrateConfig{Table: tableName, Partitioned: true, PartitionRows: partitionRows})
}

func printMigrations(w io.Writer, config MigrateConfig) error {
	config, t, err := config.complete()
	if err != nil {
		return err
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "-- Outbox table %s. Run with psql; a statement that ends in a lock timeout may be run again.\n\n", t.quoted())
	err = t.migrations(config.Partitioned, DefaultLockTimeout).Print(&out, func(version int64) string {
		if version != indexVersion || config.Partitioned {
			return ""
		}
		return fmt.Sprintf("-- Ids and their sequence are 64 bits wide; a table of more than %d rows is left as it is, since widening\n"+
			"-- rewrites it and stops its writers meanwhile. For such a table: tailrace migrate --rewrite\n%s\n\n", rewriteRows, widenSmall(t))
	})
	if err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	rows := cmp.Or(config.PartitionRows, DefaultPartitionRows)
	for i := int64(0); config.Partitioned && i < PartitionsAhead; i++ {
		out.WriteString("\n" + t.createPartition(1+i*rows, 1+(i+1)*rows) + "\n")
	}
	_, err = w.Write(out.Bytes())
	return err
}
