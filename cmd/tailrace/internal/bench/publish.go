package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"golang.org/x/sync/errgroup"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/envelopes"
)

const (
	bareInsert       = "bare INSERT"
	tenInserts       = "ten bare INSERTs"
	watermillPublish = "Watermill's sql.Publisher"
	preparing        = tailraceName + ", Prepare on"
	preparedInsert   = "bare INSERT, prepared"
	emptyTransaction = "nothing, BEGIN and COMMIT"
)

// What a round of publishing takes.
const (
	writers    = 8  // transactions that are open at once
	turns      = 20 // of each contender, in short turns so that what drifts falls on all
	turnsQuick = 2
	perWriter  = 50 // transactions in a turn, fewer of many events
)

// publishMeasures write events in transactions.
var publishMeasures = []measure{
	{
		name: "publish", question: "PublishDomain in a transaction that updates a row, 8 writers", baseline: bareInsert,
		unit: ratio, target: atLeast(0.85), takes: 25 * time.Second, round: publishing(1, true, way{tailraceName, 1, (*desk).publishOne}, way{bareInsert, 1, (*desk).insert}),
	},
	{
		name: "publish-watermill", question: "PublishDomain in a transaction, 8 writers", baseline: watermillPublish,
		unit: ratio, target: atLeast(1.8), takes: 45 * time.Second,
		// The last two tell what there is to save.
		round: publishing(1, false, way{tailraceName, 1, (*desk).publishOne}, way{watermillPublish, 1, (*desk).watermillPublish},
			way{preparing, 1, (*desk).publishPrepared}, way{preparedInsert, 1, (*desk).insertPrepared}, way{emptyTransaction, 0, (*desk).nothing}),
	},
	{
		name: "publish-ten", question: "ten events in a transaction by one call, 8 writers", baseline: tenInserts,
		unit: ratio, target: atLeast(1.8), takes: 25 * time.Second, round: publishing(10, false, way{tailraceName, 10, (*desk).publishTen}, way{tenInserts, 10, (*desk).insertTen}),
	},
}

// desk is what writers write with.
type desk struct {
	*room

	bus       *bus.Bus
	preparing *bus.Bus // with bus.Config.Prepare
	event     envelopes.Domain
	topic     string
	// message and headers are those of the event as the bus writes it.
	message  *message.Message
	headers  string
	prepared *sql.Stmt
}

// way is one to write events as part of a transaction.
type way struct {
	name   string
	events int // that it writes
	write  func(d *desk, ctx context.Context, tx *sql.Tx) error
}

// publishing compares ways to write events in a transaction, ours with the second of them. They write that many
// events at most. The transaction updates a business row of its writer's first, if asked.
func publishing(events int, update bool, ways ...way) func(context.Context, *bench) (outcome, error) {
	return func(ctx context.Context, b *bench) (_ outcome, err error) {
		r, err := b.room(ctx, 0)
		if err != nil {
			return outcome{}, err
		}
		defer func() { err = errors.Join(err, r.close()) }()
		d, err := r.desk(ctx)
		if err != nil {
			return outcome{}, err
		}
		each := b.scaled(perWriter/min(events, 3), 2)
		n := writers * each
		all := make([]contender, len(ways))
		written := 0
		for i, w := range ways {
			turn := func() error { return d.write(ctx, each, update, w) }
			clock := timed
			if i == 0 {
				clock = b.ours
			}
			all[i] = contender{name: w.name, n: n, do: func(*room) (cost, error) { return clock(turn) }}
			written += w.events
		}
		goes := turns
		if b.Quick {
			goes = turnsQuick
		}
		for i := range len(all) * goes {
			if err := all[(i+i/len(all))%len(all)].takeIn(r); err != nil {
				return outcome{}, err
			}
		}
		return rates(transactionsPerSec, all...), d.complete(ctx, goes*n*written)
	}
}

// desk makes the business rows and Watermill's table, and has the bus write the event once.
func (r *room) desk(ctx context.Context) (*desk, error) {
	d := &desk{room: r, event: envelopes.Domain{
		AggregateType: "user", AggregateID: "user-123", EventType: "user_created",
		EventData: struct {
			Email string `json:"email"`
			Plan  string `json:"plan"`
		}{"ada@example.com", "free"},
	}}
	var err error
	if d.bus, err = bus.New(bus.Config{Service: "user-service", DB: r.db}); err != nil {
		return nil, err
	}
	if d.preparing, err = bus.New(bus.Config{Service: "user-service", DB: r.db, Prepare: true}); err != nil {
		return nil, err
	}
	if d.topic, d.message, err = d.bus.Message(ctx, d.event); err != nil {
		return nil, err
	}
	tables := append(wsql.DefaultPostgreSQLSchema{}.SchemaInitializingQueries(watermillTopic),
		wsql.Query{Query: `CREATE TABLE business (id int PRIMARY KEY, n bigint NOT NULL) WITH (fillfactor = 50)`},
		wsql.Query{Query: `INSERT INTO business SELECT generate_series(1, $1::int), 0`, Args: []any{writers}})
	for _, query := range tables {
		if _, err := r.db.ExecContext(ctx, query.Query, query.Args...); err != nil {
			return nil, err
		}
	}
	if _, err := d.bus.PublishDomain(ctx, d.event); err != nil {
		return nil, err
	}
	if err := r.db.QueryRowContext(ctx, `DELETE FROM event_outbox RETURNING headers`).Scan(&d.headers); err != nil {
		return nil, err
	}
	d.prepared, err = r.db.PrepareContext(ctx, insertOne)
	return d, err
}

// write has every writer commit that many transactions.
func (d *desk) write(ctx context.Context, each int, update bool, w way) error {
	work, ctx := errgroup.WithContext(ctx)
	for writer := range writers {
		work.Go(func() error {
			for range each {
				if err := d.transact(ctx, writer+1, update, w); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return work.Wait()
}

func (d *desk) transact(ctx context.Context, writer int, update bool, w way) error {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if update {
		if _, err := tx.ExecContext(ctx, `UPDATE business SET n = n + 1 WHERE id = $1`, writer); err != nil {
			return err
		}
	}
	if err := w.write(d, ctx, tx); err != nil {
		return err
	}
	return tx.Commit()
}

func (d *desk) publishOne(ctx context.Context, tx *sql.Tx) error {
	_, err := d.bus.InTx(tx).PublishDomain(ctx, d.event)
	return err
}

func (d *desk) publishPrepared(ctx context.Context, tx *sql.Tx) error {
	_, err := d.preparing.InTx(tx).PublishDomain(ctx, d.event)
	return err
}

func (d *desk) publishTen(ctx context.Context, tx *sql.Tx) error {
	events := make([]envelopes.Event, 10)
	for i := range events {
		events[i] = d.event
	}
	_, err := d.bus.InTx(tx).PublishAll(ctx, events...)
	return err
}

// insert writes the row that the bus would write, encoded beforehand.
func (d *desk) insert(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, insertOne, d.columns()...)
	return err
}

const insertOne = `INSERT INTO event_outbox (event_id, topic, payload, key, headers) VALUES ($1, $2, $3, $4, $5)`

func (d *desk) columns() []any {
	return []any{envelopes.NewID(), d.topic, []byte(d.message.Payload), []byte(d.event.AggregateID), d.headers}
}

// insertPrepared writes the same with a statement that each connection has prepared once.
func (d *desk) insertPrepared(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.StmtContext(ctx, d.prepared).ExecContext(ctx, d.columns()...) //nolint:sqlclosecheck // It ends with the transaction.
	return err
}

func (d *desk) nothing(context.Context, *sql.Tx) error { return nil }

func (d *desk) insertTen(ctx context.Context, tx *sql.Tx) error {
	for range 10 {
		if err := d.insert(ctx, tx); err != nil {
			return err
		}
	}
	return nil
}

const watermillTopic = "published"

// watermillPublish writes the same message, encoded beforehand, by Watermill's publisher and schema.
func (d *desk) watermillPublish(_ context.Context, tx *sql.Tx) error {
	publisher, err := wsql.NewPublisher(tx, wsql.PublisherConfig{SchemaAdapter: wsql.DefaultPostgreSQLSchema{}}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	msg := message.NewMessage(envelopes.NewID(), d.message.Payload)
	msg.Metadata = maps.Clone(d.message.Metadata)
	return publisher.Publish(watermillTopic, msg)
}

// complete makes sure that a figure is about what was written, all n events of it, to the outbox and to
// Watermill's table.
func (d *desk) complete(ctx context.Context, n int) error {
	var written int
	query := `SELECT (SELECT count(*) FROM event_outbox) + (SELECT count(*) FROM ` + wsql.DefaultPostgreSQLSchema{}.MessagesTable(watermillTopic) + `)`
	if err := d.db.QueryRowContext(ctx, query).Scan(&written); err != nil {
		return err
	}
	if written != n {
		return fmt.Errorf("of %d events %d are in the tables: this is no measurement", n, written)
	}
	return nil
}
