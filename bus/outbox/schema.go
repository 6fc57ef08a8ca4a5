package outbox

import (
	stdsql "database/sql"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// maxName is the width of the event_id and topic columns, in characters.
const maxName = 255

// SchemaAdapter makes Watermill's sql.Publisher write to the outbox table: one row a message, its UUID
// the event_id, the topic of Publish the topic, its payload the payload, the metadata field
// [delivery.KeyMetadata] the key, all other metadata the headers.
//
//	publisher, err := sql.NewPublisher(tx, sql.PublisherConfig{SchemaAdapter: outbox.SchemaAdapter{}}, logger)
//
// A message is one INSERT of values; more are one INSERT that unnests arrays, in the order given. The
// values are parameters, never part of the statement's text: the server writes the text of a statement
// that fails into its log.
//
// It writes to that table also when the outbox is sharded, for which a [Writer] is needed: what it writes is
// delivered, but not in order with what others write to the further shards.
//
// It is for writing. To read the table through Watermill, use [NewSubscriber]: sql.Subscriber tells the
// database nothing of a nack, so it cannot count attempts.
type SchemaAdapter struct {
	// Table is the outbox table, "table" or "schema.table". Default: [DefaultTable].
	Table string
	// MaxRetries is written to max_retries. Default: 0, which leaves it to the column's default (3).
	MaxRetries int
	// IgnoreDuplicates leaves out a message that is there already, instead of failing.
	IgnoreDuplicates bool

	// topics, if set, has each message's own topic.
	topics []string
	// shards, if not 0, is how many the writer takes the outbox to have; see insertSharded.
	shards int
}

var _ sql.SchemaAdapter = SchemaAdapter{}

// InsertQuery implements sql.SchemaAdapter. errors.Is(err, [ErrMessage]) is a message that cannot be
// stored; its text says which part is wrong, not what it holds.
func (a SchemaAdapter) InsertQuery(topic string, msgs message.Messages) (sql.Query, error) {
	t, err := parseTable(a.Table)
	if err != nil {
		return sql.Query{}, err
	}
	if len(msgs) == 0 {
		return sql.Query{}, errors.New("outbox: no messages to write: do not call Publish without any")
	}
	if a.topics != nil && len(a.topics) != len(msgs) {
		return sql.Query{}, fmt.Errorf("outbox: %d messages, but %d topics", len(msgs), len(a.topics))
	}
	if a.shards > 0 {
		return a.insertSharded(t, topic, msgs)
	}
	statements := statementsFor(t)
	if len(msgs) == 1 {
		return a.insertOne(statements, a.topicOf(topic, 0), msgs[0])
	}
	return a.insertMany(statements, topic, msgs)
}

func (a SchemaAdapter) topicOf(topic string, i int) string {
	if a.topics != nil {
		return a.topics[i]
	}
	return topic
}

func (a SchemaAdapter) insertOne(s *statements, topic string, msg *message.Message) (sql.Query, error) {
	args, err := columnsOf(topic, msg)
	if err != nil {
		return sql.Query{}, err
	}
	query := s.one
	if a.MaxRetries > 0 {
		query, args = s.oneRetries, append(args, a.MaxRetries)
	}
	if a.IgnoreDuplicates {
		query += ignoreDuplicates
	}
	return sql.Query{Query: query, Args: args}, nil
}

// columnsOf returns the columns of one message, with room for two more arguments.
func columnsOf(topic string, msg *message.Message) ([]any, error) {
	if err := checkMessage(topic, msg); err != nil {
		return nil, err
	}
	headers, _, err := appendHeaders(nil, msg.Metadata, make([]string, 0, 16))
	if err != nil {
		return nil, inMessage(msg, err)
	}
	args := append(make([]any, 0, 7), msg.UUID, topic, payloadOf(msg), nil, nil)
	if key := msg.Metadata[delivery.KeyMetadata]; key != "" {
		args[3] = []byte(key)
	}
	if len(headers) > 0 {
		args[4] = string(headers)
	}
	return args, nil
}

func (a SchemaAdapter) insertMany(s *statements, topic string, msgs message.Messages) (sql.Query, error) {
	args, err := a.arraysOf(topic, msgs)
	if err != nil {
		return sql.Query{}, err
	}
	query := s.many
	if a.MaxRetries > 0 {
		query, args = s.manyRetries, append(args, a.MaxRetries)
	}
	if a.IgnoreDuplicates {
		query += ignoreDuplicates
	}
	return sql.Query{Query: query, Args: args}, nil
}

// arraysOf returns the columns of many messages, an array each, with room for three more arguments.
func (a SchemaAdapter) arraysOf(topic string, msgs message.Messages) ([]any, error) {
	size := 0
	for i, msg := range msgs {
		if err := checkMessage(a.topicOf(topic, i), msg); err != nil {
			return nil, err
		}
		size += len(msg.Payload)
	}
	ids := newArray(len(msgs) * 40)
	topics := newArray(len(msgs) * 32)
	payloads := newArray(2*size + len(msgs)*8)
	keys := newArray(len(msgs) * 48)
	headers := newArray(len(msgs) * 256)
	var scratch []byte
	names := make([]string, 0, 16)
	for i, msg := range msgs {
		ids.text(msg.UUID)
		topics.text(a.topicOf(topic, i))
		payloads.bytes(msg.Payload)
		if key := msg.Metadata[delivery.KeyMetadata]; key != "" {
			keys.bytes([]byte(key))
		} else {
			keys.null()
		}
		var err error
		if scratch, names, err = appendHeaders(scratch[:0], msg.Metadata, names); err != nil {
			return nil, inMessage(msg, err)
		}
		if len(scratch) > 0 {
			headers.text(string(scratch))
		} else {
			headers.null()
		}
	}
	return append(make([]any, 0, 8), ids.String(), topics.String(), payloads.String(), keys.String(), headers.String()), nil
}

// payloadOf keeps a message without payload from becoming a NULL.
func payloadOf(msg *message.Message) []byte {
	if msg.Payload == nil {
		return []byte{}
	}
	return msg.Payload
}

// checkMessage refuses what the server would refuse, before it aborts the caller's transaction.
func checkMessage(topic string, msg *message.Message) error {
	if msg == nil {
		return fmt.Errorf("%w: it is nil", ErrMessage)
	}
	if msg.UUID == "" {
		return fmt.Errorf("%w: it has no UUID, which is the event id", ErrMessage)
	}
	if err := checkName("the event id", msg.UUID); err != nil {
		return err
	}
	if topic == "" {
		return inMessage(msg, fmt.Errorf("%w: it has no topic", ErrMessage))
	}
	if err := checkName("the topic", topic); err != nil {
		return inMessage(msg, err)
	}
	return nil
}

func checkName(what, name string) error {
	switch {
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: %s is not valid UTF-8", ErrMessage, what)
	case strings.IndexByte(name, 0) >= 0:
		return fmt.Errorf("%w: %s has a NUL character", ErrMessage, what)
	case len(name) > maxName && utf8.RuneCountInString(name) > maxName:
		return fmt.Errorf("%w: %s has %d characters, at most %d are possible", ErrMessage, what, utf8.RuneCountInString(name), maxName)
	}
	return nil
}

func inMessage(msg *message.Message, err error) error {
	return fmt.Errorf("message %s: %w", msg.UUID, err)
}

// SelectQuery implements sql.SchemaAdapter; the table is not read through it.
func (a SchemaAdapter) SelectQuery(string, string, sql.OffsetsAdapter) sql.Query {
	return sql.Query{Query: `DO $$ BEGIN RAISE EXCEPTION 'the outbox is not read by sql.Subscriber: use outbox.NewSubscriber'; END $$`}
}

// UnmarshalMessage implements sql.SchemaAdapter; the table is not read through it.
func (a SchemaAdapter) UnmarshalMessage(sql.Scanner) (sql.Row, error) {
	return sql.Row{}, errors.New("outbox: the table is not read by sql.Subscriber: use outbox.NewSubscriber")
}

// SchemaInitializingQueries implements sql.SchemaAdapter. It makes nothing: the table is [Migrate]'s.
func (a SchemaAdapter) SchemaInitializingQueries(string) []sql.Query { return nil }

// SubscribeIsolationLevel implements sql.SchemaAdapter.
func (a SchemaAdapter) SubscribeIsolationLevel() stdsql.IsolationLevel {
	return stdsql.LevelReadCommitted
}
