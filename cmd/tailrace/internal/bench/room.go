package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/lib/pq"

	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/bus/outbox"
)

// What every event is like.
const (
	eventBytes = 315
	eventKeys  = 1000
)

// room is what one contender gets for one go: a schema with an empty outbox, and an empty topic.
type room struct {
	// db's connections look into the schema first.
	db     *sql.DB
	schema string
	topic  string
	// topics are all that fill writes to: the one, unless spread made more.
	topics []string
	// keys is how many different ones fill writes.
	keys    int
	cluster kafka.Config
	// written is how many events were added, settled how many of them ours was seen to settle.
	written, settled int

	servers *servers
}

// cleanup bounds the removing of a room, and the wait for its topic.
const cleanup = 30 * time.Second

// room makes a room on the broker of that latency. The caller closes it.
func (b *bench) room(ctx context.Context, latency time.Duration) (*room, error) {
	s := b.servers
	cluster, err := s.cluster(ctx, latency)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.made++
	r := &room{
		schema: fmt.Sprintf("tailrace_bench_%s_%d", s.run, s.made), topic: fmt.Sprintf("tailrace.bench.%s.%d", s.run, s.made),
		keys: eventKeys, cluster: cluster, servers: s,
	}
	r.topics = []string{r.topic}
	// Noted first: what is interrupted may have been made all the same.
	s.rooms[r.schema] = r
	s.mu.Unlock()
	if err := r.furnish(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%w", err), r.close())
	}
	return r, nil
}

func (r *room) partitions() int32 { return r.servers.config.Tuning.Partitions }

func (r *room) furnish(ctx context.Context) (err error) {
	if _, err := r.servers.admin.ExecContext(ctx, `CREATE SCHEMA `+pq.QuoteIdentifier(r.schema)); err != nil {
		return fmt.Errorf("create a schema (the account needs CREATE on the database): %w", err)
	}
	// The connections have the schema's name, so that close finds them.
	if r.db, err = r.servers.open(r.schema, r.schema); err != nil {
		return err
	}
	if _, err := outbox.Migrate(ctx, r.db, outbox.MigrateConfig{}); err != nil {
		return err
	}
	return r.createTopics(ctx, r.topics)
}

// close removes the schema and the topics, whoever still works with them. It may be called again.
func (r *room) close() error {
	s := r.servers
	s.mu.Lock()
	_, open := s.rooms[r.schema]
	delete(s.rooms, r.schema)
	s.mu.Unlock()
	if !open {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), cleanup)
	defer cancel()
	faults := []error{r.drop(ctx)}
	if err := r.deleteTopics(ctx); err != nil {
		faults = append(faults, fmt.Errorf("topics named %s are left, delete them: %w", r.topic, err))
	}
	return errors.Join(faults...)
}

func (r *room) drop(ctx context.Context) error {
	// What was interrupted in the middle may hold locks.
	_, _ = r.servers.admin.ExecContext(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1`, r.schema)
	if r.db != nil {
		_ = r.db.Close()
	}
	if _, err := r.servers.admin.ExecContext(ctx, `DROP SCHEMA IF EXISTS `+pq.QuoteIdentifier(r.schema)+` CASCADE`); err != nil {
		return fmt.Errorf("the schema %s is left, drop it: %w", r.schema, err)
	}
	return nil
}

// fill writes n rows as our bus does: a payload of 315 bytes, one of the room's topics by chance, one of its
// 1,000 keys, and the headers of a domain event.
func (r *room) fill(ctx context.Context, n int) error {
	if err := r.add(ctx, r.db, n); err != nil {
		return err
	}
	return r.vacuum(ctx, outbox.DefaultTable)
}

// executor is a database or a transaction.
type executor interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// add writes n rows as fill does, and leaves the table to autovacuum.
func (r *room) add(ctx context.Context, to executor, n int) error {
	return r.addAt(ctx, to, `nextval('event_outbox_id_seq')`, n)
}

// addAt writes n rows whose ids an SQL expression of i says, which runs from 1 to n.
func (r *room) addAt(ctx context.Context, to executor, id string, n int) error {
	_, err := to.ExecContext(ctx, `INSERT INTO event_outbox (id, event_id, topic, payload, key, headers)
		SELECT `+id+`, gen_random_uuid()::text, ($1::text[])[1 + (hashint4(i) & 2147483647) % cardinality($1::text[])],
			convert_to(rpad('{"metadata":{"event_id":"' || i || '"},"event_type":"user_created","payload":{"pad":"', $2 - 3, 'x') || '"}}', 'UTF8'),
			convert_to('user-' || (i::bigint * 7919 % $3), 'UTF8'),
			json_build_object('ce_id', gen_random_uuid(), 'ce_source', '/user-service', 'ce_specversion', '1.0', 'ce_subject', 'user-' || (i::bigint * 7919 % $3),
				'ce_time', '2026-01-01T00:00:00.000000Z', 'ce_type', 'user_created', 'content-type', 'application/json', 'correlation_id', gen_random_uuid())::text::json
		FROM generate_series(1, $4::int) i ORDER BY i`, pq.StringArray(r.topics), eventBytes, r.keys, n)
	if err != nil {
		return fmt.Errorf("fill the outbox: %w", err)
	}
	r.written += n
	return nil
}

// vacuum does now what autovacuum would do in the middle of a measure.
func (r *room) vacuum(ctx context.Context, table string) error {
	if _, err := r.db.ExecContext(ctx, `VACUUM ANALYZE `+pq.QuoteIdentifier(table)); err != nil {
		return fmt.Errorf("%w", err)
	}
	return nil
}

// pending is how many rows are not settled.
func (r *room) pending(ctx context.Context) (n int, err error) {
	if err = r.db.QueryRowContext(ctx, `SELECT count(*) FROM event_outbox WHERE processed_at IS NULL`).Scan(&n); err != nil {
		return 0, fmt.Errorf("%w", err)
	}
	return n, nil
}

// whole makes sure that a figure is about n events which were forwarded, all of them and once.
func (r *room) whole(ctx context.Context, n int) error {
	pending, err := r.pending(ctx)
	if err != nil {
		return err
	}
	arrived, err := r.arrived()
	if err != nil {
		return err
	}
	if pending != 0 || arrived != int64(n) {
		return fmt.Errorf("of %d events %d are in Kafka and %d are still pending: this is no measurement", n, arrived, pending)
	}
	return nil
}
