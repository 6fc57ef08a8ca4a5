package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/outbox"
)

// guideTable is the DDL of the guide that the old system's users followed, word for word.
const guideTable = `CREATE TABLE event_outbox (
    id SERIAL PRIMARY KEY,
    event_id VARCHAR(255) NOT NULL UNIQUE,
    topic VARCHAR(255) NOT NULL,
    payload BYTEA NOT NULL,
    key BYTEA,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
    processed_at TIMESTAMP WITH TIME ZONE,
    error_message TEXT,
    retry_count INTEGER NOT NULL DEFAULT 0,
    max_retries INTEGER NOT NULL DEFAULT 3
);`

// bundle is a database with an up-to-date outbox.
type bundle struct {
	db  *sql.DB
	dsn string
	ctx context.Context
}

func empty(t testing.TB) bundle {
	t.Helper()
	db, dsn := bustest.Postgres(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return bundle{db: db, dsn: dsn, ctx: ctx}
}

func setup(t testing.TB) bundle {
	t.Helper()
	b := empty(t)
	_, err := outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{})
	require.NoError(t, err)
	return b
}

// onBothTables runs a test on a plain outbox and on one of partitions of 1,000 ids.
func onBothTables(t *testing.T, test func(t *testing.T, b bundle)) {
	t.Helper()
	t.Parallel()
	for kind, set := range map[string]func(*testing.T) bundle{
		"plain":       func(t *testing.T) bundle { return setup(t) },
		"partitioned": partitioned,
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			test(t, set(t))
		})
	}
}

func (b bundle) exec(t testing.TB, query string, args ...any) {
	t.Helper()
	_, err := b.db.ExecContext(b.ctx, query, args...)
	require.NoError(t, err)
}

func (b bundle) writer(t testing.TB) *outbox.Writer {
	t.Helper()
	w, err := outbox.NewWriter(outbox.WriterConfig{DB: b.db})
	require.NoError(t, err)
	return w
}

// scalar reads one value.
func scalar[T any](t testing.TB, b bundle, query string, args ...any) T {
	t.Helper()
	var v T
	require.NoError(t, b.db.QueryRowContext(b.ctx, query, args...).Scan(&v))
	return v
}

// lines reads a query's rows as text, for comparing whole results.
func lines(t testing.TB, db *sql.DB, query string, args ...any) []string {
	t.Helper()
	rows, err := db.Query(query, args...)
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	columns, err := rows.Columns()
	require.NoError(t, err)
	var all []string
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		require.NoError(t, rows.Scan(into...))
		var line strings.Builder
		for i, v := range values {
			text := "NULL"
			if v.Valid {
				text = v.String
			}
			fmt.Fprintf(&line, "%s=%s ", columns[i], text)
		}
		all = append(all, line.String())
	}
	require.NoError(t, rows.Err())
	return all
}

func newMessage(payload string, metadata ...string) *message.Message {
	msg := message.NewMessage(uuid.NewString(), []byte(payload))
	for i := 0; i+1 < len(metadata); i += 2 {
		msg.Metadata.Set(metadata[i], metadata[i+1])
	}
	return msg
}

func same(topic string, n int) []string {
	topics := make([]string, n)
	for i := range topics {
		topics[i] = topic
	}
	return topics
}

// withOption adds a parameter to a connection string that is a URL.
func withOption(t testing.TB, dsn, name, value string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	require.NotEmpty(t, u.Scheme)
	query := u.Query()
	query.Set(name, value)
	u.RawQuery = query.Encode()
	return u.String()
}
