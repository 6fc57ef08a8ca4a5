package watermillsql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"

	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"

	"github.com/tailrace-go/tailrace/internal/pgtable"
)

var (
	// ErrNoTable says that Watermill's table of messages is not there.
	ErrNoTable = errors.New("watermillsql: Watermill's table of messages does not exist")
	// ErrShape says that a table is not one of watermill-sql/v3's for PostgreSQL.
	ErrShape = errors.New("watermillsql: not a table of watermill-sql/v3 for PostgreSQL")
	// ErrServer says that the server can't hold the tables: it is older than PostgreSQL 14, or in recovery.
	ErrServer = errors.New("watermillsql: the server can't be used")
)

// position is a place in Watermill's order, which is that of (transaction, offset). All before it is
// delivered, and it itself, too.
type position struct{ transaction, offset int64 }

func (p position) String() string {
	return "transaction " + strconv.FormatInt(p.transaction, 10) + ", offset " + strconv.FormatInt(p.offset, 10)
}

// tables are the two tables of a topic, as they stand in SQL, and the group that reads.
type tables struct {
	messages, offsets, group string

	create, zero []wsql.Query
}

func tablesOf(c *Config) tables {
	return tables{
		messages: c.Schema.MessagesTable(c.Topic), offsets: c.Offsets.MessagesOffsetsTable(c.Topic), group: c.ConsumerGroup,
		create: c.Offsets.SchemaInitializingQueries(c.Topic), zero: c.Offsets.BeforeSubscribingQueries(c.Topic, c.ConsumerGroup),
	}
}

// check reports why these tables can't be forwarded, nil if they can.
func (t tables) check(ctx context.Context, db *sql.DB) error {
	if err := pgtable.CheckServer(ctx, db, ErrServer); err != nil {
		return err
	}
	for _, one := range []struct{ table, columns string }{
		{t.messages, `"offset", transaction_id, uuid, payload, metadata, created_at`},
		{t.offsets, `consumer_group, offset_acked, last_processed_transaction_id`},
	} {
		_, err := db.ExecContext(ctx, `SELECT `+one.columns+` FROM `+one.table+` LIMIT 0`)
		switch state := pgtable.SQLState(err); {
		case err == nil:
		case state == pgtable.UndefinedTable && one.table == t.messages:
			return fmt.Errorf("%w: %s: it is made by the first publisher with AutoInitializeSchema; give the topic that this one is for, and a search_path in which the table is", ErrNoTable, one.table)
		case state == pgtable.UndefinedTable: // begin makes it
		case state == pgtable.UndefinedColumn:
			return fmt.Errorf("%w: %s: %w", ErrShape, one.table, err)
		default:
			return fmt.Errorf("watermillsql: look at %s: %w", one.table, err)
		}
	}
	return nil
}

// key is the advisory lock of who forwards for the group.
func (t tables) key(ctx context.Context, db *sql.Conn) (int64, error) {
	var id int64
	if err := db.QueryRowContext(ctx, `SELECT $1::regclass::oid::bigint`, t.offsets).Scan(&id); err != nil {
		return 0, wrap("look up "+t.offsets, err)
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte("tailrace watermill owner\x00" + strconv.FormatInt(id, 10) + "\x00" + t.group))
	return int64(h.Sum64()), nil //nolint:gosec // Any 64 bits are a key.
}

// begin makes sure that there is a position, as Watermill's subscriber does.
func (t tables) begin(ctx context.Context, db *sql.Conn) error {
	var exists bool
	if err := db.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, t.offsets).Scan(&exists); err != nil {
		return wrap("look up "+t.offsets, err)
	}
	queries := t.zero
	if !exists { // Making sure of a table that is there would need the right to make tables.
		queries = slices.Concat(t.create, t.zero)
	}
	for _, q := range queries {
		if _, err := db.ExecContext(ctx, q.Query, q.Args...); err != nil {
			return wrap("make sure that "+t.offsets+" has a position", err)
		}
	}
	return nil
}

const columns = `coalesce(offset_acked, 0), last_processed_transaction_id`

// locked returns the position once nobody else holds its row: Watermill's forwarder does so for a batch.
func (t tables) locked(ctx context.Context, db *sql.Conn) (at position, err error) {
	err = db.QueryRowContext(ctx, `SELECT `+columns+` FROM `+t.offsets+` WHERE consumer_group = $1 FOR UPDATE`, t.group).Scan(&at.offset, &at.transaction)
	return at, err
}

// at returns the position as it stands; zero when there is none any more.
func (t tables) at(ctx context.Context, db *sql.Conn) (at position, err error) {
	err = db.QueryRowContext(ctx, `SELECT `+columns+` FROM `+t.offsets+` WHERE consumer_group = $1`, t.group).Scan(&at.offset, &at.transaction)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return at, err
}

// move sets the position, if it still is where it was, and reports whether it was.
func (t tables) move(ctx context.Context, db *sql.Conn, from, to position) (bool, error) {
	result, err := db.ExecContext(ctx, `UPDATE `+t.offsets+` SET offset_acked = $4, last_processed_transaction_id = $5::xid8
		WHERE consumer_group = $1 AND coalesce(offset_acked, 0) = $2 AND last_processed_transaction_id = $3::xid8`,
		t.group, from.offset, decimal(from.transaction), to.offset, decimal(to.transaction))
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n == 1, err
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// readQuery reads rows behind a position ($1, $2), in order, as far as no transaction can come in between:
// below the oldest that is open, or below $3 if that is known to be further (see gate).
func (t tables) readQuery() string {
	return `SELECT "offset", transaction_id, uuid, payload, metadata FROM ` + t.messages + `
		WHERE (transaction_id, "offset") > ($1::xid8, $2::bigint)
			AND transaction_id < greatest($3::xid8, pg_snapshot_xmin(pg_current_snapshot()))
		ORDER BY transaction_id, "offset" LIMIT $4`
}

// gateQuery returns the transaction id below which no row can come any more, if there is a row behind the
// position ($1, $2): the oldest open transaction that is not known to be one of another database. The snapshot is older
// than the look at who runs, so a transaction that ended in between counts as open.
func (t tables) gateQuery() string {
	return `WITH snapshot AS MATERIALIZED (SELECT pg_current_snapshot() AS taken),
		elsewhere AS MATERIALIZED (
			SELECT backend_xid::text::bigint AS low FROM pg_stat_activity
			WHERE backend_xid IS NOT NULL AND datid <> (SELECT oid FROM pg_database WHERE datname = current_database())
			UNION ALL SELECT transaction::text::bigint FROM pg_prepared_xacts WHERE database <> current_database())
		SELECT coalesce(
			(SELECT open.id FROM snapshot, pg_snapshot_xip(taken) AS open(id)
				WHERE (open.id::text::bigint & 4294967295) NOT IN (SELECT low FROM elsewhere) ORDER BY open.id LIMIT 1),
			(SELECT pg_snapshot_xmax(taken) FROM snapshot))
		WHERE EXISTS (SELECT FROM ` + t.messages + ` WHERE (transaction_id, "offset") > ($1::xid8, $2::bigint))`
}

// backlogQuery counts rows behind a position ($1, $2), up to a limit ($3), and tells the age of the first.
func (t tables) backlogQuery() string {
	return `SELECT count(*), coalesce(greatest(0, date_part('epoch', CURRENT_TIMESTAMP::timestamp - (array_agg(created_at))[1])), 0)
		FROM (SELECT created_at FROM ` + t.messages + ` WHERE (transaction_id, "offset") > ($1::xid8, $2::bigint)
			ORDER BY transaction_id, "offset" LIMIT $3) behind`
}
