package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/tailrace-go/tailrace/internal/pgtable"
)

// How an outbox is split. What the writers go by is a sequence, the number of shards in use, since its value
// is seen at once by every transaction, also by one of REPEATABLE READ that began before. It is raised last:
// when a writer sees the new number, the tables are there and the shards are registered as not opened.
//
//	1. the registry and the sequence, with shard 0, the table itself, which is open
//	2. each new shard's table, by the same migrations, with the privileges of the first
//	3. the registry's new rows, in one transaction
//	4. the sequence
//
// A crash between two steps leaves what the next run goes on from.

// split makes the shards that are asked for, and brings those up to date that are there.
func (m *migrator) split(ctx context.Context) error {
	m.report.Shards = nil
	shards, err := shardsOf(ctx, m.db, m.table)
	if err != nil {
		return err
	}
	want := m.config.Shards
	if want == 0 {
		if want = len(shards); want == 0 {
			return nil
		}
	}
	if err := m.checkSplit(ctx, want, len(shards)); err != nil {
		return err
	}
	if err := m.locked(ctx, m.register); err != nil {
		return err
	}
	config := m.config
	config.Partitioned = false // A shard that is there stays what it is.
	for n := 1; n < want; n++ {
		if n >= len(shards) {
			config.Partitioned = m.partitioned // A new one is as the first.
			if err := m.refuseStranger(ctx, m.table.shard(n)); err != nil {
				return err
			}
		}
		report, err := migrateTable(ctx, m.db, config, m.table.shard(n))
		if err != nil {
			return err
		}
		m.report.Shards = append(m.report.Shards, report)
	}
	return m.locked(ctx, func(ctx context.Context, conn *sql.Conn) error { return m.raise(ctx, conn, want) })
}

func (m *migrator) checkSplit(ctx context.Context, want, have int) error {
	if err := checkShards(m.table, want); err != nil {
		return err
	}
	if want < have && m.config.Shards > 0 {
		return fmt.Errorf("outbox: %s has %d shards, and %d were asked for: shards are never taken away, since events may be on their way in them; ask for %d or more", m.table.quoted(), have, want, have)
	}
	if base, n, named := m.table.asShard(); named {
		if of, err := shardsOf(ctx, m.db, base); err != nil || len(of) > 0 {
			return errors.Join(err, fmt.Errorf("outbox: %s is shard %d of %s: split that one", m.table.quoted(), n, base.quoted()))
		}
	}
	return nil
}

// refuseStranger keeps a table of somebody else's with events of its own from becoming a shard.
func (m *migrator) refuseStranger(ctx context.Context, t table) error {
	_, exists, err := resolve(ctx, m.db, t)
	if err != nil || !exists {
		return err
	}
	var used bool
	if err := m.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM `+t.quoted()+`)`).Scan(&used); err != nil {
		return fmt.Errorf("outbox: look into %s: %w", t.quoted(), err)
	}
	if used {
		return fmt.Errorf("%w: %s is there already, with rows, and is no shard: rename it", ErrShape, t.quoted())
	}
	return nil
}

// register makes the registry and the sequence, with the table itself as shard 0.
func (m *migrator) register(ctx context.Context, conn *sql.Conn) error {
	var there bool
	if err := conn.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, m.table.shardCount()).Scan(&there); err != nil {
		return fmt.Errorf("outbox: look for %s: %w", m.table.shardCount(), err)
	}
	if there {
		return nil
	}
	return m.inTx(ctx, conn, "register the shards of "+m.table.quoted(), m.table.registrySQL()...)
}

// raise registers the new shards and then lets the writers use them.
func (m *migrator) raise(ctx context.Context, conn *sql.Conn, shards int) error {
	have, err := shardsOf(ctx, conn, m.table)
	if err != nil {
		return err
	}
	// Another process may have raised it further meanwhile.
	if err := m.checkSplit(ctx, shards, len(have)); err != nil || len(have) > shards {
		return err
	}
	var statements []string
	for n := len(have); n < shards; n++ {
		statements = append(statements, m.table.grantsSQL(n))
	}
	if err := m.inTx(ctx, conn, "add shards to "+m.table.quoted(), append(statements, m.table.addSQL(shards))...); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, m.table.useSQL(shards)); err != nil {
		return fmt.Errorf("outbox: let the writers of %s use %d shards: %w", m.table.quoted(), shards, err)
	}
	return nil
}

func (m *migrator) inTx(ctx context.Context, conn *sql.Conn, what string, statements ...string) error {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("outbox: %s: %w", what, err)
	}
	defer func() { _ = tx.Rollback() }()
	for _, statement := range statements {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("outbox: %s: %w", what, err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("outbox: %s: %w", what, err)
	}
	return nil
}

// registrySQL is step 1.
func (t table) registrySQL() []string {
	return []string{
		t.fill(`CREATE TABLE IF NOT EXISTS {{shards}} (
    shard        INTEGER PRIMARY KEY CHECK (shard >= 0),
    added_at     TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(),
    opened_at    TIMESTAMP WITH TIME ZONE,
    opened_after BIGINT[]
);`),
		t.fill(`CREATE SEQUENCE IF NOT EXISTS {{count}} AS INTEGER;`),
		t.fill(`INSERT INTO {{shards}} (shard, opened_at) VALUES (0, now()) ON CONFLICT (shard) DO NOTHING;`),
		t.fill(grantRegistry),
		t.fill(`SELECT setval({{count_literal}}, 1) FROM {{count}} WHERE NOT is_called;`),
	}
}

// addSQL is step 3.
func (t table) addSQL(shards int) string {
	return t.fill(`INSERT INTO {{shards}} (shard) SELECT generate_series(1, ` + strconv.Itoa(shards-1) + `) ON CONFLICT (shard) DO NOTHING;`)
}

// useSQL is step 4. It never lowers.
func (t table) useSQL(shards int) string {
	return t.fill(`SELECT setval({{count_literal}}, ` + strconv.Itoa(shards) + `) FROM {{count}} WHERE last_value < ` + strconv.Itoa(shards) + `;`)
}

// grantRegistry lets the publishers read how many shards there are, and the forwarders open them.
const grantRegistry = `DO $grants$
DECLARE
    owner TEXT := (SELECT quote_ident(pg_get_userbyid(relowner)) FROM pg_class WHERE oid = {{table_literal}}::regclass);
    may RECORD;
BEGIN
    IF owner <> quote_ident(current_user) THEN
        EXECUTE format('ALTER TABLE %s OWNER TO %s', {{shards_literal}}, owner);
        EXECUTE format('ALTER SEQUENCE %s OWNER TO %s', {{count_literal}}, owner);
    END IF;
    FOR may IN SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS who,
            bool_or(a.privilege_type = 'UPDATE') AS forwards
        FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = {{table_literal}}::regclass AND a.grantee <> c.relowner GROUP BY 1
    LOOP
        EXECUTE format('GRANT SELECT ON %s, %s TO %s', {{shards_literal}}, {{count_literal}}, may.who);
        IF may.forwards THEN
            EXECUTE format('GRANT UPDATE ON %s TO %s', {{shards_literal}}, may.who);
        END IF;
    END LOOP;
END
$grants$;`

// grantsSQL gives a new shard the owner and the privileges of the first, with those of its sequence and of
// its state table: a publisher that may write to one only would fail as soon as there are two.
func (t table) grantsSQL(n int) string {
	return strings.NewReplacer("{{new}}", pgtable.QuoteLiteral(t.shard(n).quoted()), "{{new_state}}", pgtable.QuoteLiteral(t.shard(n).stateTable()),
		"{{new_versions}}", pgtable.QuoteLiteral(t.shard(n).versionTable())).Replace(t.fill(`DO $grants$
DECLARE
    owner TEXT := (SELECT quote_ident(pg_get_userbyid(relowner)) FROM pg_class WHERE oid = {{table_literal}}::regclass);
    name TEXT;
    may RECORD;
BEGIN
    IF owner <> quote_ident(current_user) THEN
        FOREACH name IN ARRAY ARRAY[{{new}}, {{new_state}}, {{new_versions}}]
            || (SELECT array_agg(relid::text) FROM pg_partition_tree({{new}}::regclass) WHERE level > 0) LOOP
            EXECUTE format('ALTER TABLE %s OWNER TO %s', name, owner);
        END LOOP;
    END IF;
    FOR may IN SELECT pair.kind, pair.new, a.privilege_type AS what, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS who
        FROM (VALUES ('TABLE', {{table_literal}}::regclass, {{new}}), ('TABLE', {{state_literal}}::regclass, {{new_state}}),
                ('SEQUENCE', pg_get_serial_sequence({{table_literal}}, 'id')::regclass, pg_get_serial_sequence({{new}}, 'id'))) pair (kind, old, new)
            JOIN pg_class c ON c.oid = pair.old, aclexplode(c.relacl) a WHERE a.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT %s ON %s %s TO %s', may.what, may.kind, may.new, may.who);
    END LOOP;
END
$grants$;`))
}

func (t table) fill(text string) string {
	return strings.NewReplacer(
		"{{table_literal}}", pgtable.QuoteLiteral(t.quoted()), "{{state_literal}}", pgtable.QuoteLiteral(t.stateTable()),
		"{{shards}}", t.shardsTable(), "{{shards_literal}}", pgtable.QuoteLiteral(t.shardsTable()),
		"{{count}}", t.shardCount(), "{{count_literal}}", pgtable.QuoteLiteral(t.shardCount()),
	).Replace(text)
}

// PrintShards writes, after what [PrintMigrations] writes for the table, what splits it into config.Shards, for
// psql and under the same rules. Of the configuration it reads Table, Shards, Partitioned and PartitionRows.
func PrintShards(w io.Writer, config MigrateConfig) error {
	config, t, err := config.complete()
	if err != nil {
		return err
	}
	var out strings.Builder
	fmt.Fprintf(&out, "-- The shards of %s. Shards are never taken away.\n%s\n\n", t.quoted(), strings.Join(t.registrySQL(), "\n\n"))
	for n := 1; n < config.Shards; n++ {
		if err := printMigrations(&out, MigrateConfig{Table: t.shard(n).name(), Partitioned: config.Partitioned, PartitionRows: config.PartitionRows}); err != nil {
			return err
		}
		fmt.Fprintf(&out, "\n%s\n\n", t.grantsSQL(n))
	}
	fmt.Fprintf(&out, "%s\n\n%s\n", t.addSQL(config.Shards), t.useSQL(config.Shards))
	_, err = io.WriteString(w, out.String())
	return err
}
