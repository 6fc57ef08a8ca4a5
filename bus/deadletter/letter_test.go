package deadletter_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/delivery"
)

func headers(pairs ...string) []delivery.Header {
	var all []delivery.Header
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, delivery.Header{Key: pairs[i], Value: []byte(pairs[i+1])})
	}
	return all
}

// death is the headers of a letter of a consumer.
func death() []delivery.Header {
	return headers(delivery.UUIDHeader, "event-1", "ce_type", "created",
		deadletter.HeaderSource, deadletter.SourceConsumer, deadletter.HeaderReason, "no such mailbox",
		deadletter.HeaderTopic, "marty.orders", deadletter.HeaderPartition, "3", deadletter.HeaderOffset, "42",
		deadletter.HeaderKey, "ada", deadletter.HeaderHandler, "welcome", deadletter.HeaderAttempts, "9",
		deadletter.HeaderFirstFailure, "2026-03-01T12:00:00Z", deadletter.HeaderLastFailure, "2026-03-01T12:00:30.5Z",
		deadletter.HeaderRequeues, "2", deadletter.HeaderRequeuedFor, "an earlier one")
}

func TestReadAndOriginal(t *testing.T) {
	t.Parallel()
	record := deadletter.Record{Partition: 1, Offset: 7, Key: []byte("ada"), Value: []byte(`{"a":1}`), Headers: death()}
	first := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	l := deadletter.Read(record)
	require.Equal(t, deadletter.Letter{
		Record: record, EventID: "event-1", Source: "consumer", Reason: "no such mailbox", Topic: "marty.orders",
		FromPartition: 3, FromOffset: 42, Handler: "welcome", Attempts: 9,
		FirstFailure: first, LastFailure: first.Add(30500 * time.Millisecond), Requeues: 2,
	}, l)

	original, err := l.Original()
	require.NoError(t, err)
	require.Equal(t, delivery.Record{
		Topic: "marty.orders", Key: []byte("ada"), Value: []byte(`{"a":1}`),
		Headers: headers(delivery.UUIDHeader, "event-1", "ce_type", "created",
			deadletter.HeaderRequeues, "3", deadletter.HeaderRequeuedFor, "welcome"),
		Route: &delivery.Route{Seen: 3},
	}, original)
	require.Equal(t, death(), record.Headers, "the letter stays as it was")
}

func TestReadTakesWhatItCannotReadForAbsent(t *testing.T) {
	t.Parallel()
	sent := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	l := deadletter.Read(deadletter.Record{Time: sent, Headers: headers(
		deadletter.HeaderPartition, "three", deadletter.HeaderOffset, "", deadletter.HeaderAttempts, "99999999999",
		deadletter.HeaderLastFailure, "yesterday", deadletter.HeaderRequeues, "x", "", "")})
	require.Equal(t, int32(-1), l.FromPartition)
	require.Equal(t, int64(-1), l.FromOffset)
	require.Zero(t, l.Attempts)
	require.Equal(t, sent, l.Died())
	_, err := l.Original()
	require.ErrorIs(t, err, deadletter.ErrNoOrigin)

	_, err = deadletter.Read(deadletter.Record{Headers: headers(deadletter.HeaderTopic, "t", deadletter.HeaderOmitted, "2000000")}).Original()
	require.ErrorIs(t, err, deadletter.ErrOmitted)
	require.ErrorContains(t, err, "2000000 bytes")
}

func TestFilter(t *testing.T) {
	t.Parallel()
	l := deadletter.Read(deadletter.Record{Headers: death()})
	at := l.LastFailure
	tests := []struct {
		shows  string
		filter deadletter.Filter
		want   bool
	}{
		{"all by default", deadletter.Filter{}, true},
		{"topic", deadletter.Filter{Topic: "marty.orders"}, true},
		{"another topic", deadletter.Filter{Topic: "marty.order"}, false},
		{"handler", deadletter.Filter{Handler: "welcome"}, true},
		{"another handler", deadletter.Filter{Handler: "Welcome"}, false},
		{"source", deadletter.Filter{Source: deadletter.SourceOutbox}, false},
		{"event", deadletter.Filter{EventID: "event-1"}, true},
		{"another event", deadletter.Filter{EventID: "event-2"}, false},
		{"part of the reason", deadletter.Filter{Reason: "MAILBOX"}, true},
		{"another reason", deadletter.Filter{Reason: "timeout"}, false},
		{"since then", deadletter.Filter{Since: at}, true},
		{"since later", deadletter.Filter{Since: at.Add(1)}, false},
		{"until later", deadletter.Filter{Until: at.Add(1)}, true},
		{"until then", deadletter.Filter{Until: at}, false},
		{"all must hold", deadletter.Filter{Topic: "marty.orders", Handler: "another"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.shows, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.want, tt.filter.Match(l))
		})
	}
}
