package outbox

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/internal/pgtable"
)

// WriterConfig is where and how a [Writer] writes.
type WriterConfig struct {
	// DB is the database of the outbox table, for events that are written on their own. Without it,
	// every call needs a transaction.
	DB *stdsql.DB
	// Table is the outbox table, "table" or "schema.table". Default: [DefaultTable].
	Table string
	// MaxRetries is how often delivery is tried before an event is dead. Default: 0, which leaves it to
	// the table (3).
	MaxRetries int
	// Shards, if not 0, has the writer choose among the shards of a split outbox by the record key, and is
	// how many there must be at least; when there are more, it uses them. Default: 0, every event goes to
	// Table itself.
	Shards int
	// Prepare has the INSERT of a single event prepared, once on each connection of DB, which saves a round trip
	// and the server's parsing with drivers that do not by themselves, as lib/pq. It needs DB, transactions of that
	// DB, and connections that keep their session: no pooler in transaction mode, unless that knows prepared
	// statements, as PgBouncer does from 1.21 on. Default: false.
	Prepare bool
	// Logger traces statements. Default: none. It is Watermill's, which logs arguments at trace level.
	Logger watermill.LoggerAdapter
}

// Writer writes events to the outbox through Watermill's sql.Publisher: any number of messages, of any
// topics, in one statement. It is safe for concurrent use, and it is a [message.Publisher] that writes
// outside any transaction.
//
// Errors: errors.Is(err, [ErrDuplicate]) for an event id that is there already, [ErrMessage] for a
// message that cannot be stored, [ErrRowsOpen] for a transaction that is still reading, [ErrNoTable]
// and [ErrNotMigrated] for a table that is missing or old. After an error from the server the caller's
// transaction is aborted. An error of the context stays visible to errors.Is.
//
// With WriterConfig.Shards, a call is one statement still, and three in the call that finds more shards than
// the one before. The number of shards is what it is when the statement runs, in a transaction of REPEATABLE
// READ or SERIALIZABLE, too. An event id is unique within a shard: an event whose key moved since may be
// written a second time by Write; Republish looks into the older shards, too.
type Writer struct {
	db     *stdsql.DB
	table  table
	config WriterConfig
	shards atomic.Int64 // as last counted, 0 before that

	prepared *prepared // nil without WriterConfig.Prepare
}

var _ message.Publisher = (*Writer)(nil)

// NewWriter checks the configuration; it does not ask the database.
func NewWriter(config WriterConfig) (*Writer, error) {
	t, err := parseTable(config.Table)
	faults := []error{err}
	if config.MaxRetries < 0 || config.MaxRetries > 1<<30 {
		faults = append(faults, fmt.Errorf("outbox: WriterConfig.MaxRetries is %d: at least 1, or 0 for the table's default", config.MaxRetries))
	}
	if err == nil && config.Shards != 0 {
		faults = append(faults, checkShards(t, config.Shards))
	}
	if config.Prepare && config.DB == nil {
		faults = append(faults, errors.New("outbox: WriterConfig.Prepare is set, but no DB to prepare on: set DB to the one that the transactions are of"))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	w := &Writer{db: config.DB, table: t, config: config}
	if config.Prepare {
		w.prepared = newPrepared(config.DB)
	}
	return w, nil
}

// Write writes msgs, in order, as part of tx; topics[i] is the destination of msgs[i]. A nil tx writes
// them on their own. No messages is no statement. The transaction is the caller's to commit.
func (w *Writer) Write(ctx context.Context, tx Tx, topics []string, msgs []*message.Message) error {
	_, err := w.insert(ctx, tx, topics, msgs, false)
	return err
}

// Republish is Write for events that may be there already: those that are stay as they are, pending or
// processed, and are not sent again. It returns how many were written.
func (w *Writer) Republish(ctx context.Context, tx Tx, topics []string, msgs []*message.Message) (int64, error) {
	return w.insert(ctx, tx, topics, msgs, true)
}

// Publish implements [message.Publisher]: it writes msgs on their own, not in a transaction, under the
// context of the first message.
func (w *Writer) Publish(topic string, msgs ...*message.Message) error {
	if len(msgs) == 0 {
		return nil
	}
	topics := make([]string, len(msgs))
	for i := range topics {
		topics[i] = topic
	}
	ctx := context.Background()
	if msgs[0] != nil {
		ctx = msgs[0].Context()
	}
	return w.Write(ctx, nil, topics, msgs)
}

// Close implements [message.Publisher]. The database is the caller's and stays open.
func (w *Writer) Close() error { return nil }

func (w *Writer) insert(ctx context.Context, tx Tx, topics []string, msgs []*message.Message, ignore bool) (int64, error) {
	if len(msgs) != len(topics) {
		return 0, fmt.Errorf("outbox: %d messages, but %d topics: give each message one", len(msgs), len(topics))
	}
	if len(msgs) == 0 {
		return 0, nil
	}
	var exec executor
	switch {
	case tx != nil:
		exec = tx
	case w.db != nil:
		exec = w.db
	default:
		return 0, errors.New("outbox: the writer has no database of its own: pass a transaction, or set WriterConfig.DB")
	}
	if w.config.Shards > 0 {
		return w.sharded(ctx, exec, topics, msgs, ignore)
	}
	return w.publish(ctx, exec, w.adapter(topics, ignore), topics, msgs)
}

func (w *Writer) adapter(topics []string, ignore bool) SchemaAdapter {
	return SchemaAdapter{Table: w.config.Table, MaxRetries: w.config.MaxRetries, IgnoreDuplicates: ignore, topics: topics}
}

// publish is one statement. It returns how many rows that affected.
func (w *Writer) publish(ctx context.Context, exec executor, adapter SchemaAdapter, topics []string, msgs []*message.Message) (int64, error) {
	bound := &boundExecutor{ctx: ctx, exec: exec}
	if len(msgs) == 1 {
		bound.prepared = w.prepared
	}
	publisher, err := sql.NewPublisher(bound, sql.PublisherConfig{SchemaAdapter: adapter}, w.config.Logger)
	if err != nil {
		return 0, fmt.Errorf("outbox: %w", err)
	}
	err = publisher.Publish(topics[0], msgs...)
	switch {
	case err == nil:
		return bound.written, nil
	case bound.err != nil:
		return 0, pgtable.WithContext(ctx, explainWrite(w.table, bound.err))
	}
	return 0, fmt.Errorf("outbox: %w", err)
}

type executor interface {
	ExecContext(ctx context.Context, query string, args ...any) (stdsql.Result, error)
}

// Tx is what the writer needs of a transaction. *sql.Tx has it and so has what wraps one; a *sql.DB has it not,
// on purpose. The writer never ends it.
type Tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (stdsql.Result, error)
	Commit() error
	Rollback() error
}

// boundExecutor gives sql.Publisher, which uses context.Background, the caller's context, and keeps
// what it drops: the number of rows, and the server's error as it was.
type boundExecutor struct {
	sql.ContextExecutor // nil: sql.Publisher only executes

	exec     executor
	prepared *prepared // nil for a statement that is not to be
	ctx      context.Context
	written  int64
	err      error
}

func (b *boundExecutor) ExecContext(_ context.Context, query string, args ...any) (stdsql.Result, error) {
	var result stdsql.Result
	var err error
	if b.prepared != nil {
		result, err = b.prepared.exec(b.ctx, b.exec, query, args)
	} else {
		result, err = b.exec.ExecContext(b.ctx, query, args...)
	}
	if err != nil {
		b.err = err
		return nil, err
	}
	b.written, err = result.RowsAffected()
	if err != nil {
		b.written = 0
	}
	return result, nil
}
