package watermillsql

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// TestPlainIsWhatGeneralIs: whatever the quick way reads, it reads as the other does.
func TestPlainIsWhatGeneralIs(t *testing.T) {
	t.Parallel()
	quick := 0
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.StringMatching(`[a-z0-9 _.-]{0,20}`), rapid.StringMatching(`[a-zé<"\\ \x00\n]{0,8}`), rapid.String())
		e := envelope{
			DestinationTopic: text.Draw(t, "topic"), UUID: text.Draw(t, "uuid"),
			Payload:  rapid.OneOf(rapid.SliceOf(rapid.Byte()), rapid.Just[[]byte](nil)).Draw(t, "payload"),
			Metadata: rapid.OneOf(rapid.MapOf(text, text), rapid.Just[map[string]string](nil)).Draw(t, "metadata"),
		}
		raw, err := json.Marshal(e)
		require.NoError(t, err)
		if rapid.Bool().Draw(t, "indented") {
			raw, err = json.MarshalIndent(e, "", "\t")
			require.NoError(t, err)
		}
		if cut := rapid.IntRange(0, 20).Draw(t, "cut"); cut > 15 {
			at := rapid.IntRange(0, len(raw)-1).Draw(t, "at")
			raw = append(raw[:at:at], raw[min(at+cut-15, len(raw)):]...)
		}
		key := rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[a-z]{0,3}`)).Draw(t, "key")
		have, ok := names{}.plain(raw, key)
		if !ok {
			return
		}
		quick++
		want, err := names{}.general(raw, key)
		require.NoError(t, err)
		require.Equal(t, want, have)
	})
	require.Positive(t, quick)
}

func TestPlainReadsWhatWatermillWrites(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"json":        `{"destination_topic":"orders","uuid":"u","payload":"aGVsbG8=","metadata":{"a":"1","k":"ключ"}}`,
		"jsonb":       `{"uuid": "u", "payload": "aGVsbG8=", "metadata": {"k": "ключ", "a": "1"}, "destination_topic": "orders"}`,
		"no metadata": `{"destination_topic":"orders","uuid":"u","payload":null,"metadata":null}`,
	} {
		have, ok := names{}.plain([]byte(raw), "k")
		require.True(t, ok, name)
		want, err := names{}.general([]byte(raw), "k")
		require.NoError(t, err)
		require.Equal(t, want, have)
		require.Equal(t, "orders", have.Topic)
	}
}

func TestWhatIsNoEnvelope(t *testing.T) {
	t.Parallel()
	for raw, words := range map[string]string{
		``:                                      "not JSON",
		`s3cr3t`:                                "not JSON, at byte 1",
		`"s3cr3t"`:                              "wrong JSON type",
		`{"payload":"s3cr3t!"}`:                 "base64",
		`{"payload":{"s3cr3t":1}}`:              "payload is of the wrong JSON type",
		`{"metadata":{"s3cr3t":1}}`:             "metadata is of the wrong JSON type",
		`{}`:                                    "no destination_topic",
		`null`:                                  "no destination_topic",
		`{"destination_topic":"","uuid":"a"}`:   "no destination_topic",
		`{"destination_topic":"a","uuid":"a"}x`: "not JSON",
	} {
		_, err := names{}.unwrap([]byte(raw), "k")
		require.ErrorIs(t, err, errEnvelope, raw)
		require.ErrorContains(t, err, words, raw)
		require.NotContains(t, err.Error(), "s3cr3t")
	}
	record, err := names{}.unwrap([]byte(`{"destination_topic":"a","uuid":"u","metadata":{"_watermill_message_uuid":"forged"}}`), "")
	require.ErrorIs(t, err, errReserved)
	require.Equal(t, []delivery.Header{{Key: delivery.UUIDHeader, Value: []byte("u")}}, record.Headers)
}

func BenchmarkUnwrap(b *testing.B) {
	e := envelope{DestinationTopic: "orders", UUID: "0190b5c2-7d3e-7a41-9c55-2f6d0e8b1a03", Payload: make([]byte, 315), Metadata: map[string]string{"order_id": "order-7", "correlation_id": "0190b5c2-7d3e-7a41-9c55-2f6d0e8b1a04"}}
	raw, _ := json.Marshal(e)
	n := names{}
	b.Run("plain", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = n.unwrap(raw, "order_id")
		}
	})
	b.Run("general", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = n.general(raw, "order_id")
		}
	})
}
