package outbox

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// insertSharded writes each message to the shard of its key, in one statement that does nothing when there
// are more shards than the writer knows of. Writers of a key serialise on their aggregate's row, so that one
// which sees the new number is followed by no other that does not: the key's events are in its old shard
// first, and in its new one ever after.
//
// The statement has locked every table that it writes to before it looks at the number. So whoever looks at the
// locks once the number is raised (see [Claim.Open]) misses no transaction that went by the old one.
func (a SchemaAdapter) insertSharded(t table, topic string, msgs message.Messages) (sql.Query, error) {
	if a.guardedAlone(msgs) {
		return a.insertGuarded(t, a.topicOf(topic, 0), msgs[0])
	}
	args, err := a.arraysOf(topic, msgs)
	if err != nil {
		return sql.Query{}, err
	}
	numbers := make([]byte, 1, 2+3*len(msgs))
	numbers[0] = '{'
	var inUse []int
	for i, msg := range msgs {
		shard := shardOf(msg, a.shards)
		if i > 0 {
			numbers = append(numbers, ',')
		}
		numbers = strconv.AppendInt(numbers, int64(shard), 10)
		if at, known := slices.BinarySearch(inUse, shard); !known {
			inUse = slices.Insert(inUse, at, shard)
		}
	}
	args = append(args, string(append(numbers, '}')), a.shards)
	if a.MaxRetries > 0 {
		args = append(args, a.MaxRetries)
	}
	return sql.Query{Query: a.manySharded(t, inUse), Args: args}, nil
}

// guardedAlone reports whether the statement affects the rows it writes and no more. Else it affects one row
// more: the number of shards, if that is as the writer took it to be.
func (a SchemaAdapter) guardedAlone(msgs []*message.Message) bool {
	return len(msgs) == 1 && !a.IgnoreDuplicates
}

func shardOf(msg *message.Message, shards int) int {
	if key := msg.Metadata[delivery.KeyMetadata]; key != "" {
		return ShardOf([]byte(key), shards)
	}
	return ShardOf([]byte(msg.UUID), shards)
}

var knownGuarded sync.Map // guarded → string

type guarded struct {
	table   table
	shard   int
	retries bool
}

func (a SchemaAdapter) insertGuarded(t table, topic string, msg *message.Message) (sql.Query, error) {
	args, err := columnsOf(topic, msg)
	if err != nil {
		return sql.Query{}, err
	}
	args = append(args, a.shards)
	if a.MaxRetries > 0 {
		args = append(args, a.MaxRetries)
	}
	which := guarded{t, shardOf(msg, a.shards), a.MaxRetries > 0}
	text, known := knownGuarded.Load(which)
	if !known {
		columns, values := "", ""
		if which.retries {
			columns, values = ", max_retries", ", $7::integer"
		}
		text, _ = knownGuarded.LoadOrStore(which, "INSERT INTO "+t.shard(which.shard).quoted()+" (event_id, topic, payload, key, headers"+columns+
			") SELECT $1::text, $2::text, $3::bytea, $4::bytea, $5::json"+values+" FROM "+t.shardCount()+" WHERE last_value = $6::bigint")
	}
	return sql.Query{Query: text.(string), Args: args}, nil
}

// manySharded is one statement whatever shards the messages go to: a data-modifying CTE for each. The number
// of shards is read once for all of them, since a sequence does not hold still for a statement.
func (a SchemaAdapter) manySharded(t table, inUse []int) string {
	columns, values := "event_id, topic, payload, key, headers", "event_id, topic, payload, key, headers::json"
	if a.MaxRetries > 0 {
		columns, values = columns+", max_retries", values+", $8::integer"
	}
	var q strings.Builder
	q.WriteString("WITH known AS MATERIALIZED (SELECT FROM " + t.shardCount() + " WHERE last_value = $7::bigint), " +
		"e AS MATERIALIZED (SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[], $5::text[], $6::integer[]) " +
		"WITH ORDINALITY AS e(event_id, topic, payload, key, headers, shard, n))")
	for _, shard := range inUse {
		fmt.Fprintf(&q, ", s%d AS (INSERT INTO %s (%s) SELECT %s FROM e, known WHERE shard = %d%s ORDER BY n", shard, t.shard(shard).quoted(), columns, values, shard, a.elsewhere(t, shard))
		if a.IgnoreDuplicates {
			q.WriteString(ignoreDuplicates)
		}
		q.WriteString(" RETURNING 1)")
	}
	q.WriteString(" SELECT FROM known")
	for _, shard := range inUse {
		fmt.Fprintf(&q, " UNION ALL SELECT FROM s%d", shard)
	}
	return q.String()
}

// elsewhere leaves out the events that were written to an older shard, before their key moved.
func (a SchemaAdapter) elsewhere(t table, shard int) string {
	if !a.IgnoreDuplicates {
		return ""
	}
	var q strings.Builder
	for older := range shard {
		fmt.Fprintf(&q, " AND NOT EXISTS (SELECT FROM %s o WHERE o.event_id = e.event_id AND o.topic = e.topic)", t.shard(older).quoted())
	}
	return q.String()
}
