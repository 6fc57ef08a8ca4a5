package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/outbox"
)

const everyRow = `SELECT id, event_id, topic, encode(payload, 'escape') AS payload, encode(key, 'escape') AS key, headers::text, max_retries FROM event_outbox ORDER BY id`

func TestWriterStoresMessagesOfManyTopicsInOneStatementAndInOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)

	w, err := outbox.NewWriter(outbox.WriterConfig{MaxRetries: 7})
	require.NoError(t, err)

	msgs := []*message.Message{
		newMessage(`{"n":1}`, delivery.KeyMetadata, "user-1", "b", `quote " and \ and 'x'`, "a", "ü\n\t\x01{},"),
		newMessage("two"),
		newMessage("", delivery.KeyMetadata, ""),
		{UUID: "no payload", Metadata: message.Metadata{}},
		newMessage("five", "only", "header"),
	}
	topics := []string{"t.one", "t.two", "t.three", "t.four", "t.five"}
	tx, err := b.db.BeginTx(b.ctx, nil)
	require.NoError(t, err)
	require.NoError(t, w.Write(b.ctx, tx, topics, msgs))
	require.NoError(t, tx.Commit())

	require.Equal(t, []string{
		"id=1 event_id=" + msgs[0].UUID + ` topic=t.one payload={"n":1} key=user-1 headers={"a":"ü\n\t\u0001{},","b":"quote \" and \\ and 'x'"} max_retries=7 `,
		"id=2 event_id=" + msgs[1].UUID + ` topic=t.two payload=two key=NULL headers=NULL max_retries=7 `,
		"id=3 event_id=" + msgs[2].UUID + ` topic=t.three payload= key=NULL headers=NULL max_retries=7 `,
		"id=4 event_id=no payload topic=t.four payload= key=NULL headers=NULL max_retries=7 ",
		"id=5 event_id=" + msgs[4].UUID + ` topic=t.five payload=five key=NULL headers={"only":"header"} max_retries=7 `,
	}, lines(t, b.db, everyRow))
}

func TestWriterStoresOneMessageAsItStoresMany(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.writer(t)
	one := newMessage("body\x00\xff", delivery.KeyMetadata, "k\x00", "h", `"v"`)
	require.NoError(t, w.Write(b.ctx, nil, []string{"a"}, []*message.Message{one}))
	second, third := one.Copy(), one.Copy()
	require.NoError(t, w.Write(b.ctx, nil, []string{"b", "c"}, []*message.Message{second, third}))
	require.Equal(t, int64(1), scalar[int64](t, b, `SELECT count(DISTINCT (payload, key, headers::text, max_retries)) FROM event_outbox`))
	require.Equal(t, int64(3), scalar[int64](t, b, `SELECT count(*) FROM event_outbox WHERE max_retries = 3 AND payload = '\x626f647900ff' AND key = '\x6b00'`))
}

// TestBinaryParameters: lib/pq's binary_parameters=yes saves a publisher one of its INSERT's two round trips.
func TestBinaryParameters(t *testing.T) {
	t.Parallel()
	b := setup(t)
	db, err := sql.Open("postgres", withOption(t, b.dsn, "binary_parameters", "yes"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	w, err := outbox.NewWriter(outbox.WriterConfig{DB: db})
	require.NoError(t, err)
	msg := func() *message.Message {
		return newMessage("body\x00\xff", delivery.KeyMetadata, "k\x00", "h", `"v"`)
	}
	require.NoError(t, w.Write(b.ctx, nil, same("one", 1), []*message.Message{msg()}))
	require.NoError(t, w.Write(b.ctx, nil, same("many", 3), []*message.Message{msg(), msg(), msg()}))
	require.Equal(t, int64(4), scalar[int64](t, b, `SELECT count(*) FROM event_outbox
		WHERE payload = '\x626f647900ff' AND key = '\x6b00' AND headers->>'h' = '"v"'`))

	store, err := outbox.NewStore(db, "")
	require.NoError(t, err)
	claim, err := store.Claim(b.ctx, "reader", time.Minute)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, claim.Release(b.ctx)) })
	rows, _, err := claim.Read(b.ctx, nil, 0, []outbox.Range{{Low: 1, High: 2}}, outbox.Limit{Rows: 10})
	require.NoError(t, err)
	var read []int64
	for _, row := range rows {
		require.Equal(t, "body\x00\xff k\x00 {\"h\":\"\\\"v\\\"\"} 3", fmt.Sprintf("%s %s %s %d", row.Payload, row.Key, row.Headers, row.MaxRetries))
		read = append(read, row.ID)
	}
	require.Equal(t, []int64{1, 1, 2, 2, 3, 4}, read, "asked for as gaps and as what follows")
	require.NoError(t, store.Settle(b.ctx, read))
	require.Equal(t, int64(0), scalar[int64](t, b, `SELECT count(*) FROM event_outbox WHERE processed_at IS NULL`))
}

func TestWriterIsPartOfTheTransaction(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.writer(t)
	for _, n := range []int{1, 3} {
		tx, err := b.db.BeginTx(b.ctx, nil)
		require.NoError(t, err)
		msgs := make([]*message.Message, n)
		for i := range msgs {
			msgs[i] = newMessage("x")
		}
		require.NoError(t, w.Write(b.ctx, tx, same("t", n), msgs))
		require.NoError(t, tx.Rollback())
	}
	require.Zero(t, scalar[int64](t, b, `SELECT count(*) FROM event_outbox`))
}

func TestWriterWithoutMessagesRunsNoStatement(t *testing.T) {
	t.Parallel()
	w, err := outbox.NewWriter(outbox.WriterConfig{})
	require.NoError(t, err)
	require.NoError(t, w.Write(context.Background(), nil, nil, nil))
	require.NoError(t, w.Publish("t"))
}

func TestWriterRefusesADuplicateAndTellsTheCure(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.writer(t)
	msg, other := newMessage("first"), newMessage("second")
	require.NoError(t, w.Publish("t", msg))
	require.NoError(t, w.Publish("another", msg), "the same id in another topic is another event")

	err := w.Publish("t", msg)
	require.ErrorIs(t, err, outbox.ErrDuplicate)
	require.ErrorContains(t, err, "Republish")
	require.ErrorIs(t, w.Publish("t", other, msg), outbox.ErrDuplicate)
	require.ErrorIs(t, w.Publish("new", other, other), outbox.ErrDuplicate)

	b.exec(t, `UPDATE event_outbox SET processed_at = now(), retry_count = 2`)
	written, err := w.Republish(b.ctx, nil, []string{"t"}, []*message.Message{msg})
	require.NoError(t, err)
	require.Zero(t, written)
	written, err = w.Republish(b.ctx, nil, []string{"t", "t"}, []*message.Message{msg, other})
	require.NoError(t, err)
	require.Equal(t, int64(1), written)
	require.Equal(t, int64(2), scalar[int64](t, b, `SELECT count(*) FROM event_outbox WHERE retry_count = 2 AND processed_at IS NOT NULL`),
		"what was there is not reset")
}

func TestWriterRefusesWhatTheServerWould(t *testing.T) {
	t.Parallel()
	w, err := outbox.NewWriter(outbox.WriterConfig{})
	require.NoError(t, err)
	tx := new(sql.Tx) // Nothing below may reach it.
	for name, c := range map[string]struct {
		topic string
		msg   *message.Message
		says  string
	}{
		"nil":            {"t", nil, "nil"},
		"no id":          {"t", message.NewMessage("", nil), "UUID"},
		"long id":        {"t", message.NewMessage(strings.Repeat("ü", 256), nil), "256 characters"},
		"NUL in the id":  {"t", message.NewMessage("a\x00b", nil), "NUL"},
		"no topic":       {"", message.NewMessage("id", nil), "topic"},
		"bad topic":      {"t\xff", message.NewMessage("id", nil), "topic name"},
		"binary header":  {"t", &message.Message{UUID: "id", Metadata: message.Metadata{"bin": "\xff"}}, `"bin"`},
		"watermill name": {"t t", message.NewMessage("id", nil), "topic name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := w.Write(context.Background(), tx, []string{c.topic}, []*message.Message{c.msg})
			require.ErrorContains(t, err, c.says)
			ok := message.NewMessage("fine", []byte("secret"))
			err = w.Write(context.Background(), tx, []string{c.topic, "t"}, []*message.Message{c.msg, ok})
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "secret")
		})
	}
	require.ErrorContains(t, w.Publish("t", newMessage("x")), "WriterConfig.DB")
	require.ErrorContains(t, w.Write(context.Background(), tx, []string{"t"}, nil), "1 topics")
}

func TestWriterHonoursTheCallersContext(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	err := b.writer(t).Write(ctx, nil, []string{"t"}, []*message.Message{newMessage("x")})
	require.ErrorIs(t, err, context.Canceled)

	// Cancelled in the middle of the statement.
	blocker, err := b.db.BeginTx(b.ctx, nil)
	require.NoError(t, err)
	_, err = blocker.ExecContext(b.ctx, `LOCK TABLE event_outbox`)
	require.NoError(t, err)
	short, stop := context.WithCancel(b.ctx)
	defer stop()
	written := make(chan error, 1)
	w := b.writer(t)
	go func() { written <- w.Write(short, nil, []string{"t"}, []*message.Message{newMessage("x")}) }()
	// The driver's cancel request is lost on a server process that has not begun yet.
	require.Eventually(t, func() bool {
		return scalar[int](t, b, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == 1
	}, time.Minute, time.Millisecond)
	stop()
	require.ErrorIs(t, <-written, context.Canceled)
	require.NoError(t, blocker.Rollback())

	msg := newMessage("x")
	msg.SetContext(ctx)
	require.ErrorIs(t, b.writer(t).Publish("t", msg), context.Canceled)
}

func TestWriterExplainsOpenRowsAndMissingTables(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.writer(t)
	tx, err := b.db.BeginTx(b.ctx, nil)
	require.NoError(t, err)
	rows, err := tx.QueryContext(b.ctx, `SELECT generate_series(1, 3)`)
	require.NoError(t, err)
	require.True(t, rows.Next())
	err = w.Write(b.ctx, tx, []string{"t"}, []*message.Message{newMessage("x")})
	require.ErrorIs(t, err, outbox.ErrRowsOpen)
	require.ErrorContains(t, err, "close them before publishing")
	require.NoError(t, rows.Close()) //nolint:sqlclosecheck // When it is closed is what the test is about.
	require.NoError(t, rows.Err())
	require.NoError(t, tx.Rollback())

	missing, err := outbox.NewWriter(outbox.WriterConfig{DB: b.db, Table: "no_such"})
	require.NoError(t, err)
	err = missing.Publish("t", newMessage("x"))
	require.ErrorIs(t, err, outbox.ErrNoTable)
	require.ErrorContains(t, err, "tailrace migrate")

	b.exec(t, `ALTER TABLE event_outbox DROP COLUMN headers`)
	require.ErrorIs(t, w.Publish("t", newMessage("x")), outbox.ErrNotMigrated)
}

func TestWriterErrorsCarryNoPayload(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `ALTER TABLE event_outbox ADD CHECK (length(payload) < 3)`)
	for _, msgs := range [][]*message.Message{{newMessage("secret")}, {newMessage("secret"), newMessage("secret")}} {
		err := b.writer(t).Publish("t", msgs...)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "secret")
		require.NotContains(t, err.Error(), "736563726574")
	}
}

func TestSchemaAdapterWithWatermillsOwnPublisher(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tx, err := b.db.BeginTx(b.ctx, nil)
	require.NoError(t, err)
	p, err := wsql.NewPublisher(tx, wsql.PublisherConfig{SchemaAdapter: outbox.SchemaAdapter{}}, watermill.NopLogger{})
	require.NoError(t, err)
	require.NoError(t, p.Publish("one", newMessage("a")))
	require.NoError(t, p.Publish("two", newMessage("b"), newMessage("c")))
	require.ErrorContains(t, p.Publish("none"), "no messages")
	require.NoError(t, tx.Commit())
	require.Equal(t, []string{"topic=one n=1 ", "topic=two n=2 "}, lines(t, b.db, `SELECT topic, count(*) AS n FROM event_outbox GROUP BY 1 ORDER BY 1`))
}

func TestSchemaAdapterSendsReadersElsewhere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var adapter outbox.SchemaAdapter
	query := adapter.SelectQuery("t", "", nil)
	_, err := b.db.ExecContext(b.ctx, query.Query, query.Args...)
	require.ErrorContains(t, err, "outbox.NewSubscriber")
	_, err = adapter.UnmarshalMessage(nil)
	require.ErrorContains(t, err, "outbox.NewSubscriber")
	require.Empty(t, adapter.SchemaInitializingQueries("t"))
}

func TestWriterTakesHeadersOfTypeJSONB(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `ALTER TABLE event_outbox ALTER headers TYPE jsonb`)
	require.NoError(t, outbox.Check(b.ctx, b.db, ""))
	require.NoError(t, b.writer(t).Publish("t", newMessage("x", "h", "v")))
	require.NoError(t, b.writer(t).Publish("t", newMessage("x", "h", "v"), newMessage("x", "h", "v")))
	require.Equal(t, int64(3), scalar[int64](t, b, `SELECT count(*) FROM event_outbox WHERE headers ->> 'h' = 'v'`))
}

func TestWriterConfigRefusesBadNames(t *testing.T) {
	t.Parallel()
	_, err := outbox.NewWriter(outbox.WriterConfig{Table: `x"; DROP TABLE users; --.1`, MaxRetries: -1})
	require.ErrorContains(t, err, "schema part")
	require.ErrorContains(t, err, "table part")
	require.ErrorContains(t, err, "MaxRetries")
}
