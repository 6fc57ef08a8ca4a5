package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tailrace-go/tailrace/internal/pgtable"
)

// rewriteRows is the largest table whose ids are widened without being asked: ALTER … TYPE rewrites the
// table, and its writers wait.
const rewriteRows = 100_000

// rewritePause is how long the automatic widening may stop writers, beyond the wait for the lock. A
// table that takes longer is left as it is.
const rewritePause = 100 * time.Millisecond

// widen makes the id column and its sequence 64 bits wide. The sequence is a step of its own: widening
// the column leaves it an integer, and the table would stop at 2,147,483,647 all the same.
func widen(t table, condition string) string {
	return strings.NewReplacer("{{table}}", t.quoted(), "{{literal}}", pgtable.QuoteLiteral(t.quoted()), "{{condition}}", condition).Replace(`DO $widen$
DECLARE
    narrow TEXT;
BEGIN
    IF (SELECT atttypid FROM pg_attribute WHERE attrelid = to_regclass({{literal}}) AND attname = 'id') <> 'bigint'::regtype
        AND {{condition}} THEN
        ALTER TABLE {{table}} ALTER COLUMN id TYPE BIGINT;
    END IF;
    IF (SELECT atttypid FROM pg_attribute WHERE attrelid = to_regclass({{literal}}) AND attname = 'id') = 'bigint'::regtype THEN
        FOR narrow IN SELECT seqrelid::regclass::text FROM pg_sequence WHERE seqtypid <> 'bigint'::regtype AND seqrelid IN (
            SELECT d.refobjid FROM pg_attrdef f JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
                JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass
                WHERE f.adrelid = to_regclass({{literal}}) AND a.attname = 'id'
            UNION SELECT d.objid FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'i'
                AND d.refobjid = to_regclass({{literal}}) AND a.attname = 'id')
        LOOP
            EXECUTE 'ALTER SEQUENCE ' || narrow || ' AS BIGINT';
        END LOOP;
    END IF;
END
$widen$;`)
}

func widenSmall(t table) string {
	return widen(t, "(SELECT count(*) FROM (SELECT FROM "+t.quoted()+" LIMIT "+strconv.Itoa(rewriteRows+1)+") few) <= "+strconv.Itoa(rewriteRows))
}

// finish drops what the new unique index replaces, if the operator wishes. It has no version, since it
// depends on that wish: it is looked at every time.
func (m *migrator) finish(ctx context.Context, conn *sql.Conn) error {
	s, err := inspect(ctx, conn, m.table)
	if err != nil {
		return err
	}
	old := s.eventIDOnly()
	if len(old) == 0 {
		return nil
	}
	if !m.config.Rewrite {
		m.report.Postponed = append(m.report.Postponed, fmt.Sprintf(
			"an event id may be written only once for all topics (%s), since code may say ON CONFLICT (event_id): run with --rewrite once none does", old[0].name))
		return nil
	}
	for _, x := range old {
		drop := "DROP INDEX CONCURRENTLY " + pgtable.Name{Schema: m.table.Schema, Base: x.name}.Quoted()
		if x.constraint != "" {
			drop = "ALTER TABLE " + m.table.quoted() + " DROP CONSTRAINT " + pgtable.QuoteIdentifier(x.constraint)
		}
		if _, err := conn.ExecContext(ctx, drop); err != nil {
			return fmt.Errorf("outbox: drop the old unique index %s: %w", x.name, err)
		}
		m.report.Rewritten = append(m.report.Rewritten, "dropped "+x.name)
	}
	return nil
}

// widenTries is how often the automatic widening is tried; each try may stop writers for rewritePause.
const widenTries = 3

// widenIDs widens the ids if that stops no writer for long, or if the operator wishes. It has no version,
// either.
func (m *migrator) widenIDs(ctx context.Context, conn *sql.Conn, s shape) error {
	if !s.narrow() {
		return nil
	}
	postpone := func(why string) {
		m.report.Postponed = append(m.report.Postponed, "ids are 32 bits wide, "+why+": run with --rewrite while publishers can wait")
	}
	const tooLong = "and widening them takes longer than publishers may be stopped for"
	rewrites := s.columns["id"].typ != "int8"
	if m.tooLong {
		postpone(tooLong)
		return nil
	}
	if !m.config.Rewrite && rewrites {
		var rows int
		if err := conn.QueryRowContext(ctx, `SELECT count(*) FROM (SELECT FROM `+m.table.quoted()+` LIMIT `+strconv.Itoa(rewriteRows+1)+`) few`).Scan(&rows); err != nil {
			return fmt.Errorf("outbox: count the rows: %w", err)
		}
		if rows > rewriteRows {
			postpone(fmt.Sprintf("and widening them would rewrite more than %d rows", rewriteRows))
			return nil
		}
		limit := m.config.LockTimeout + rewritePause
		if _, err := conn.ExecContext(ctx, `SET statement_timeout = `+strconv.FormatInt(limit.Milliseconds(), 10)); err != nil {
			return fmt.Errorf("outbox: bound the rewrite: %w", err)
		}
		defer func() { _, _ = conn.ExecContext(context.WithoutCancel(ctx), `RESET statement_timeout`) }()
	}
	var err error
	for try := range widenTries {
		if try > 0 {
			if err := pgtable.Wait(ctx, 10*rewritePause); err != nil {
				return fmt.Errorf("outbox: widen the ids of %s: %w", m.table.quoted(), err)
			}
		}
		if _, err = conn.ExecContext(ctx, widen(m.table, "true")); err == nil {
			m.report.Rewritten = append(m.report.Rewritten, "widened id to 64 bits")
			return nil
		}
		if ctx.Err() != nil || m.config.Rewrite || pgtable.SQLState(err) != pgtable.QueryCanceled {
			break
		}
	}
	switch {
	case ctx.Err() == nil && !m.config.Rewrite && pgtable.SQLState(err) == pgtable.QueryCanceled:
		m.tooLong = true
		postpone(tooLong)
		return nil
	case ctx.Err() == nil && !m.config.Rewrite && !pgtable.Retryable(err):
		postpone("and widening them failed (" + err.Error() + ")")
		return nil
	}
	return fmt.Errorf("outbox: widen the ids of %s: %w", m.table.quoted(), err)
}
