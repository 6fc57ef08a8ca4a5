// Package letters makes the copies that a forwarder sends to the dead-letter topic.
package letters

import (
	"slices"
	"strconv"
	"time"

	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/delivery"
)

// Death is why a record died, and which row still has it.
type Death struct {
	// Source is what the copy says for its source.
	Source   string
	Reason   error
	Attempts int
	Row      int64
	// Table, if set, is said besides.
	Table string
	// Partitioner is how the topic's keys pick their partitions, "" for not said.
	Partitioner delivery.Partitioner
}

// New returns the copy for the dead-letter topic, with the record's Ref and without its fence. It shares the
// record's memory.
func New(topic string, record *delivery.Record, death Death) delivery.Record {
	headers := slices.DeleteFunc(slices.Clone(record.Headers), func(h delivery.Header) bool {
		return slices.Contains(deadletter.Headers(), h.Key)
	})
	add := func(name, value string) {
		headers = append(headers, delivery.Header{Key: name, Value: []byte(value)})
	}
	add(deadletter.HeaderSource, death.Source)
	add(deadletter.HeaderReason, deadletter.Reason(death.Reason))
	if record.Topic != "" {
		add(deadletter.HeaderTopic, record.Topic)
	}
	if record.Key != nil {
		add(deadletter.HeaderKey, string(record.Key))
		if death.Partitioner != "" {
			add(deadletter.HeaderPartitioner, string(death.Partitioner))
		}
	}
	add(deadletter.HeaderAttempts, strconv.Itoa(death.Attempts))
	add(deadletter.HeaderLastFailure, deadletter.Time(time.Now()))
	if death.Table != "" {
		add(deadletter.HeaderTable, death.Table)
	}
	add(deadletter.HeaderRow, strconv.FormatInt(death.Row, 10))
	return delivery.Record{Topic: topic, Key: record.Key, Value: record.Value, Headers: headers, Ref: record.Ref}
}

// WithoutPayload is a copy that was too large itself, for once more without the payload, which the row still
// has.
func WithoutPayload(letter *delivery.Record) delivery.Record {
	omitted := delivery.Header{Key: deadletter.HeaderOmitted, Value: []byte(strconv.Itoa(len(letter.Value)))}
	return delivery.Record{Topic: letter.Topic, Key: letter.Key, Headers: append(letter.Headers, omitted), Ref: letter.Ref}
}
