// Package deadletter names the headers of a dead letter: the copy of a message that could not be
// handled (bus/consumer) or delivered (forwarder), sent to the dead-letter topic with what is needed to
// find out why and to send it again.
//
// A dead letter has the payload, the UUID, the record key and the metadata of the message it copies, all
// unchanged, and the headers below beside them. All values are text; a header whose value is not known
// is absent. A dead letter that is replayed and dies again carries the headers of its last death.
package deadletter

import (
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// HeaderSource says who gave up: SourceConsumer or SourceOutbox.
	HeaderSource = "dead_letter_source"
	// HeaderReason is the last error, at most MaxReason bytes.
	HeaderReason = "dead_letter_reason"
	// HeaderTopic is the topic the message was consumed from, or was to be delivered to.
	HeaderTopic = "dead_letter_topic"
	// HeaderPartition is the partition the message was consumed from, decimal.
	HeaderPartition = "dead_letter_partition"
	// HeaderOffset is the message's offset in that partition, decimal.
	HeaderOffset = "dead_letter_offset"
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
	// HeaderRow is the id of the outbox row, decimal.
	HeaderRow = "dead_letter_row"
	// HeaderOmitted is the payload's size in bytes, decimal, when the dead letter was too large for its
	// topic and went without it. The outbox row still has the payload.
	HeaderOmitted = "dead_letter_payload_omitted"
)

const (
	// SourceConsumer: a handler could not process the message.
	SourceConsumer = "consumer"
	// SourceOutbox: the forwarder could not deliver the event.
	SourceOutbox = "outbox"
)

// TimeFormat is how times stand in the headers: RFC 3339 in UTC with nanoseconds (see [Time]).
const TimeFormat = time.RFC3339Nano

// MaxReason bounds HeaderReason, in bytes: a record close to the topic's size limit must still fit with
// its headers.
const MaxReason = 1024

// Headers returns the names of all headers of a dead letter.
func Headers() []string {
	return []string{
		HeaderSource, HeaderReason, HeaderTopic, HeaderPartition, HeaderOffset, HeaderKey, HeaderHandler,
		HeaderAttempts, HeaderFirstFailure, HeaderLastFailure, HeaderRow, HeaderOmitted,
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
