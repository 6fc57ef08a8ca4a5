package bench

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"
	"github.com/lib/pq"
	"golang.org/x/sync/errgroup"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

// The ways in which the loop settles what was acknowledged.
const (
	settleByUpdate = `UPDATE event_outbox SET processed_at = now() WHERE id = ANY($1)`
	settleByDelete = `DELETE FROM event_outbox WHERE id = ANY($1)`
)

const (
	loopRows   = 2000 // rows a read at most
	loopBatch  = 1000 // rows a read for each partition, so that no batch comes near a broker's usual 1 MB
	loopSettle = 5000 // rows a settling statement at most
)

// loop is what one writes by hand for speed alone: a reader, a pipelined idempotent producer and a
// settler, each a goroutine. It has one owner, no late commits, no retries, no order after a fault, no
// dead letters and no shutdown: any fault ends it.
type loop struct {
	room   *room
	settle string
	want   int

	client   sarama.Client
	topics   map[string]int32 // to the first of its places below, where each of its partitions has one
	leaders  []*sarama.Broker
	identity *sarama.InitProducerIDResponse
	sequence []int32

	read  chan *loopChunk
	acked chan []int64
	fail  context.CancelCauseFunc
}

// loopChunk is the rows of a read, by topic and partition.
type loopChunk struct {
	ids     [][]int64
	records [][]*sarama.Record
}

// loop has the bare loop forward n rows that fill writes, from the first connection to the last row's
// being settled.
func (r *room) loop(ctx context.Context, n int, settle string) (cost, error) {
	if err := r.fill(ctx, n); err != nil {
		return cost{}, err
	}
	l := &loop{room: r, settle: settle, want: n, topics: map[string]int32{}, read: make(chan *loopChunk, 4), acked: make(chan []int64, 64)}
	used, err := timed(func() error { return l.run(ctx) })
	if err != nil {
		return cost{}, fmt.Errorf("bare loop: %w", err)
	}
	return used, r.whole(ctx, n)
}

func (l *loop) run(ctx context.Context) error {
	if err := l.connect(); err != nil {
		return err
	}
	defer func() { _ = l.client.Close() }()
	ctx, l.fail = context.WithCancelCause(ctx)
	defer l.fail(nil)
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return l.readAll(ctx) })
	work.Go(func() error { return l.sendAll(ctx) })
	work.Go(func() error { return l.settleAll(ctx) })
	return work.Wait()
}

func (l *loop) connect() error {
	config, err := l.room.cluster.Sarama()
	if err != nil {
		return err
	}
	if l.client, err = sarama.NewClient(l.room.cluster.Brokers, config); err != nil {
		return err
	}
	for _, topic := range l.room.topics {
		l.topics[topic] = int32(len(l.leaders)) //nolint:gosec // a few thousand at most
		for partition := range l.room.partitions() {
			leader, err := l.client.Leader(topic, partition)
			if err != nil {
				return errors.Join(err, l.client.Close())
			}
			l.leaders = append(l.leaders, leader)
		}
	}
	l.sequence = make([]int32, len(l.leaders))
	l.identity, err = l.leaders[0].InitProducerID(&sarama.InitProducerIDRequest{Version: 4, ProducerID: -1, ProducerEpoch: -1})
	if err == nil && l.identity.Err != sarama.ErrNoError {
		err = l.identity.Err
	}
	if err != nil {
		return errors.Join(err, l.client.Close())
	}
	return nil
}

func (l *loop) readAll(ctx context.Context) error {
	defer close(l.read)
	statement, err := l.room.db.PrepareContext(ctx, `SELECT id, event_id, topic, payload, key, headers FROM event_outbox WHERE id > $1 ORDER BY id LIMIT $2`)
	if err != nil {
		return err
	}
	defer func() { _ = statement.Close() }()
	for last, left := int64(0), l.want; left > 0; {
		chunk := &loopChunk{ids: make([][]int64, len(l.sequence)), records: make([][]*sarama.Record, len(l.sequence))}
		n, err := l.readChunk(ctx, statement, &last, chunk)
		if err != nil {
			return err
		}
		left -= n
		select {
		case l.read <- chunk:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (l *loop) readChunk(ctx context.Context, statement *sql.Stmt, last *int64, chunk *loopChunk) (n int, err error) {
	rows, err := statement.QueryContext(ctx, *last, min(loopRows, loopBatch*len(l.sequence)))
	if err != nil {
		return 0, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var event, topic string
		var headers sql.RawBytes
		record := new(sarama.Record)
		if err := rows.Scan(last, &event, &topic, &record.Value, &record.Key, &headers); err != nil {
			return n, err
		}
		record.Headers = append(make([]*sarama.RecordHeader, 0, 12), &sarama.RecordHeader{Key: []byte(delivery.UUIDHeader), Value: []byte(event)})
		if record.Headers, err = appendHeaders(record.Headers, headers); err != nil {
			return n, err
		}
		place := l.topics[topic] + kafka.PartitionFor(record.Key, l.room.partitions())
		record.OffsetDelta = int64(len(chunk.records[place]))
		chunk.records[place] = append(chunk.records[place], record)
		chunk.ids[place] = append(chunk.ids[place], *last)
		n++
	}
	if err := rows.Err(); err != nil {
		return n, err
	}
	if n == 0 {
		return 0, errors.New("the outbox has fewer rows than were written")
	}
	return n, nil
}

// appendHeaders decodes a flat JSON object of strings without escapes, which is what fill writes, several
// times as fast as encoding/json does.
func appendHeaders(dst []*sarama.RecordHeader, object []byte) ([]*sarama.RecordHeader, error) {
	object = bytes.Clone(object)
	parts := bytes.Split(object, []byte{'"'}) // { name : value , name : value }
	if len(parts)%4 != 1 || bytes.IndexByte(object, '\\') >= 0 {
		return nil, errors.New("the headers are not a flat object of strings")
	}
	for ; len(parts) > 1; parts = parts[4:] {
		dst = append(dst, &sarama.RecordHeader{Key: parts[1], Value: parts[3]})
	}
	return dst, nil
}

func (l *loop) sendAll(ctx context.Context) error {
	for {
		select {
		case chunk, more := <-l.read:
			if !more {
				return nil
			}
			if err := l.send(ctx, chunk); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// send sends a chunk: to each leader one request, with one batch a partition. It waits while as many
// requests are in flight as may be.
func (l *loop) send(ctx context.Context, chunk *loopChunk) error {
	now := time.Now().Truncate(time.Millisecond)
	requests := map[*sarama.Broker]*sarama.ProduceRequest{}
	ids := map[*sarama.Broker][]int64{}
	for place, records := range chunk.records {
		if len(records) == 0 {
			continue
		}
		topic, partition := l.room.topics[place/int(l.room.partitions())], int32(place)%l.room.partitions()
		leader := l.leaders[place]
		if requests[leader] == nil {
			requests[leader] = &sarama.ProduceRequest{RequiredAcks: sarama.WaitForAll, Timeout: 10_000, Version: 8}
		}
		n := int32(len(records)) //nolint:gosec // at most loopRows

		requests[leader].AddBatch(topic, partition, &sarama.RecordBatch{
			Version: 2, LastOffsetDelta: n - 1, FirstTimestamp: now, MaxTimestamp: now, Records: records,
			ProducerID: l.identity.ProducerID, ProducerEpoch: l.identity.ProducerEpoch, FirstSequence: l.sequence[place],
		})
		l.sequence[place] += n
		ids[leader] = append(ids[leader], chunk.ids[place]...)
	}
	for leader, request := range requests {
		acked := ids[leader]
		err := leader.AsyncProduce(request, func(response *sarama.ProduceResponse, err error) {
			if err = l.answer(response, err); err != nil {
				l.fail(err)
				return
			}
			select {
			case l.acked <- acked:
			case <-ctx.Done():
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *loop) answer(response *sarama.ProduceResponse, err error) error {
	if err != nil {
		return err
	}
	for _, blocks := range response.Blocks {
		for _, block := range blocks {
			if block.Err != sarama.ErrNoError {
				return block.Err
			}
		}
	}
	return nil
}

// settleAll settles what was acknowledged meanwhile, until that was all.
func (l *loop) settleAll(ctx context.Context) error {
	for left := l.want; left > 0; {
		var ids []int64
		select {
		case ids = <-l.acked:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for more := true; more && len(ids) < loopSettle; {
			select {
			case next := <-l.acked:
				ids = append(ids, next...)
			default:
				more = false
			}
		}
		if _, err := l.room.db.ExecContext(ctx, l.settle, pq.Int64Array(ids)); err != nil {
			return err
		}
		left -= len(ids)
	}
	return nil
}
