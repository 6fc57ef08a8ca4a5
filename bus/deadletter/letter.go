package deadletter

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// Record is a record of the dead-letter topic as it was read.
type Record struct {
	Partition int32
	Offset    int64
	// Time is when the record was sent.
	Time time.Time
	// Key is nil for a null key.
	Key, Value []byte
	Headers    []delivery.Header
}

// Letter is a dead letter: the record and what its headers say. What they do not say is zero, or -1
// where zero is a value.
type Letter struct {
	Record

	// EventID is the message's UUID, which is the event's id.
	EventID string
	// Source is SourceConsumer, SourceOutbox or SourceWatermill.
	Source string
	// Reason is the last error.
	Reason string
	// Topic is where the message came from, or was to go; FromPartition and FromOffset are its place
	// there, -1 when not known.
	Topic         string
	FromPartition int32
	FromOffset    int64
	// Partitioner is how the topic's keys pick their partitions, "" for not known.
	Partitioner delivery.Partitioner
	// Handler is the router handler that failed.
	Handler string
	// Attempts is how often the message was tried.
	Attempts int
	// FirstFailure and LastFailure are when the first and the last attempt failed.
	FirstFailure, LastFailure time.Time
	// Row is the id of the outbox row.
	Row int64
	// Omitted is the payload's size in bytes when the letter went without it.
	Omitted int
	// Requeues is how often the message was requeued before.
	Requeues int
}

// Read reads a record of the dead-letter topic. Headers that it cannot read count as not there.
func Read(record Record) Letter {
	l := Letter{Record: record, FromPartition: -1, FromOffset: -1}
	for _, header := range record.Headers { // the last of a name counts
		value := string(header.Value)
		switch header.Key {
		case delivery.UUIDHeader:
			l.EventID = value
		case HeaderSource:
			l.Source = value
		case HeaderReason:
			l.Reason = value
		case HeaderTopic:
			l.Topic = value
		case HeaderPartition:
			l.FromPartition = int32(number(value, 32, -1)) //nolint:gosec // of 32 bits
		case HeaderOffset:
			l.FromOffset = number(value, 64, -1)
		case HeaderPartitioner:
			l.Partitioner = delivery.Partitioner(value)
		case HeaderHandler:
			l.Handler = value
		case HeaderAttempts:
			l.Attempts = int(number(value, 32, 0))
		case HeaderFirstFailure:
			l.FirstFailure, _ = time.Parse(TimeFormat, value)
		case HeaderLastFailure:
			l.LastFailure, _ = time.Parse(TimeFormat, value)
		case HeaderRow:
			l.Row = number(value, 64, 0)
		case HeaderOmitted:
			l.Omitted = int(number(value, 32, 0))
		case HeaderRequeues:
			l.Requeues = int(number(value, 32, 0))
		}
	}
	return l
}

func number(text string, bits int, otherwise int64) int64 {
	n, err := strconv.ParseInt(text, 10, bits)
	if err != nil {
		return otherwise
	}
	return n
}

// Died is when the last attempt failed, or when the letter was sent if it does not say.
func (l Letter) Died() time.Time {
	if l.LastFailure.IsZero() {
		return l.Time
	}
	return l.LastFailure
}

var (
	// ErrNoOrigin says that a letter does not name the topic it came from.
	ErrNoOrigin = errors.New("deadletter: the letter does not say which topic it came from")
	// ErrOmitted says that a letter was too large for the dead-letter topic and went without its payload.
	ErrOmitted = errors.New("deadletter: the letter was too large and has no payload: requeue it from its outbox row")
)

// Original returns the record as it was before it died, for the topic that it came from, with
// [HeaderRequeues] one higher. It shares the letter's memory. The error is [ErrNoOrigin] or [ErrOmitted].
func (l Letter) Original() (delivery.Record, error) {
	switch {
	case l.Topic == "":
		return delivery.Record{}, ErrNoOrigin
	case l.Omitted > 0:
		return delivery.Record{}, fmt.Errorf("%w (%d bytes)", ErrOmitted, l.Omitted)
	}
	headers := slices.DeleteFunc(slices.Clone(l.Headers), func(h delivery.Header) bool {
		return h.Key == HeaderRequeues || slices.Contains(ofDeath, h.Key)
	})
	headers = append(headers, delivery.Header{Key: HeaderRequeues, Value: strconv.AppendInt(nil, int64(l.Requeues)+1, 10)})
	if l.Handler != "" {
		headers = append(headers, delivery.Header{Key: HeaderRequeuedFor, Value: []byte(l.Handler)})
	}
	record := delivery.Record{Topic: l.Topic, Key: l.Key, Value: l.Value, Headers: headers}
	if l.Key != nil && (l.Partitioner != "" || l.FromPartition >= 0) {
		record.Route = &delivery.Route{Partitioner: l.Partitioner, Seen: l.FromPartition}
	}
	return record, nil
}

var ofDeath = Headers()

// Filter chooses letters. The zero value chooses all; several conditions must all hold.
type Filter struct {
	// Topic is the topic that the letter came from, Handler the handler that failed, Source who gave up,
	// EventID the event's id.
	Topic, Handler, Source, EventID string
	// Reason is a part of the reason, upper and lower case being the same.
	Reason string
	// Since is when the message died at the earliest, Until before when.
	Since, Until time.Time
}

// Match reports whether the filter chooses the letter.
func (f Filter) Match(l Letter) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	return is(f.Topic, l.Topic) && is(f.Handler, l.Handler) && is(f.Source, l.Source) && is(f.EventID, l.EventID) &&
		strings.Contains(strings.ToLower(l.Reason), strings.ToLower(f.Reason)) &&
		!l.Died().Before(f.Since) && (f.Until.IsZero() || l.Died().Before(f.Until))
}
