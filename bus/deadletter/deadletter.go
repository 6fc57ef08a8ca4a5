// Package deadletter is about dead letters: the copies of messages that could not be handled
// (bus/consumer) or delivered (forwarder), sent to the dead-letter topic with what is needed to find out
// why and to send them again.
//
// # What a dead letter is
//
// A dead letter has the payload, the UUID, the record key and the metadata of the message it copies, all
// unchanged, and the headers below beside them. All values are text; a header whose value is not known
// is absent. [Read] reads them.
//
// # Requeueing
//
// [Requeue] sends letters back to where they came from, [Discard] settles them without sending, and
// [List] shows them; the command `tailrace deadletters` does the same. What was read is the record as it
// was before it died, without the headers of its death, with [HeaderRequeues] counting how often that was
// done and [HeaderRequeuedFor] naming the handler that had failed. A message that dies again has the
// headers of its last death and keeps the count.
//
// A letter of a consumer goes back to its topic, behind what was sent there meanwhile, and every group
// that reads the topic sees it again: handlers must know an event that they handled (bus/inbox), or leave
// the requeues of others alone (consumer.SkipOthersRequeues). A letter of an outbox has a row that says
// what became of it: the row is made pending again for the forwarder to deliver, never the copy sent
// beside it.
//
// The record goes to the partition of its key, also in a topic that was written to by another partitioner than
// the sender's: a letter of Watermill's table names it, and a letter of a consumer the partition that the
// record was in (see [delivery.Route]).
//
// # Progress
//
// Which letters are settled is kept as the committed offsets of a consumer group that nobody joins, with
// the letters settled beyond that offset in the commit's metadata. It moves only after the broker has
// acknowledged the requeued record, so that a run that is killed loses nothing, and the next one goes on;
// what it had sent and not yet noted is sent twice. A letter that a filter, a limit or a fault left out
// stays for later runs. One run may work at a time.
package deadletter

import (
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// HeaderSource says who gave up: SourceConsumer, SourceOutbox or SourceWatermill.
	HeaderSource = "dead_letter_source"
	// HeaderReason is the last error, at most MaxReason bytes.
	HeaderReason = "dead_letter_reason"
	// HeaderTopic is the topic the message was consumed from, or was to be delivered to.
	HeaderTopic = "dead_letter_topic"
	// HeaderPartition is the partition the message was consumed from, decimal.
	HeaderPartition = "dead_letter_partition"
	// HeaderOffset is the message's offset in that partition, decimal.
	HeaderOffset = "dead_letter_offset"
	// HeaderPartitioner is how the keys of the topic pick their partitions, of a message that was in none yet: a
	// [delivery.Partitioner]. A letter of Watermill's table has it, if its sender says.
	HeaderPartitioner = "dead_letter_partitioner"
	// HeaderKey is the record key. The dead letter itself has the same key.
	HeaderKey = "dead_letter_key"
	// HeaderHandler is the name of the router handler that failed.
	HeaderHandler = "dead_letter_handler"
	// HeaderAttempts is how often the message was tried, decimal: by a consumer since its last delivery,
	// by the outbox since it was written.
	HeaderAttempts = "dead_letter_attempts"
	// HeaderFirstFailure is when the first of these attempts failed, in TimeFormat.
	HeaderFirstFailure = "dead_letter_first_failure"
	// HeaderLastFailure is when the last of these attempts failed, in TimeFormat.
	HeaderLastFailure = "dead_letter_last_failure"
	// HeaderRow is the id of the outbox row, decimal; in Watermill's table, its offset.
	HeaderRow = "dead_letter_row"
	// HeaderTable is Watermill's table that the row is in, as it stands in SQL.
	HeaderTable = "dead_letter_table"
	// HeaderOmitted is the payload's size in bytes, decimal, when the dead letter was too large for its
	// topic and went without it. The outbox row still has the payload.
	HeaderOmitted = "dead_letter_payload_omitted"
	// HeaderRequeuedFor is the name of the handler that had failed, on a record that was requeued.
	HeaderRequeuedFor = "dead_letter_requeued_for"
	// HeaderRequeues is how often a record was requeued, decimal. It is no part of [Headers], since it
	// outlives each death.
	HeaderRequeues = "dead_letter_requeues"
)

const (
	// SourceConsumer: a handler could not process the message.
	SourceConsumer = "consumer"
	// SourceOutbox: the forwarder could not deliver the event.
	SourceOutbox = "outbox"
	// SourceWatermill: the forwarder could not unwrap or deliver a message of watermill-sql's table.
	SourceWatermill = "watermill"
)

// TimeFormat is how times stand in the headers: RFC 3339 in UTC with nanoseconds (see [Time]).
const TimeFormat = time.RFC3339Nano

// MaxReason bounds HeaderReason, in bytes: a record close to the topic's size limit must still fit with
// its headers.
const MaxReason = 1024

// Headers returns the names of all headers that belong to one death, which a later one replaces.
func Headers() []string {
	return []string{
		HeaderSource, HeaderReason, HeaderTopic, HeaderPartition, HeaderOffset, HeaderPartitioner, HeaderKey, HeaderHandler,
		HeaderAttempts, HeaderFirstFailure, HeaderLastFailure, HeaderRow, HeaderTable, HeaderOmitted,
		HeaderRequeuedFor,
	}
}

// Reason returns an error's text as it stands in HeaderReason: valid UTF-8, cut to MaxReason bytes.
func Reason(err error) string {
	if err == nil {
		return ""
	}
	text := strings.ToValidUTF8(err.Error(), "\uFFFD")
	if len(text) <= MaxReason {
		return text
	}
	const ellipsis = "…"
	cut := MaxReason - len(ellipsis)
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + ellipsis
}

// Time returns a time as it stands in the headers.
func Time(t time.Time) string { return t.UTC().Format(TimeFormat) }
