package envelopes_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/envelopes"
)

// BenchmarkEncode compares, in one run, the encoder with encoding/json over a struct of the same shape.
func BenchmarkEncode(b *testing.B) {
	event := sampleDomain()
	b.Run("tailrace", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := envelopes.Encode(event); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			encodePlain(b, event)
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	})
}

// BenchmarkDecode compares, in one run, the decoder with encoding/json into a struct of the same shape.
func BenchmarkDecode(b *testing.B) {
	record, err := envelopes.Encode(sampleDomain())
	require.NoError(b, err)
	b.Run("tailrace", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			envelope, err := envelopes.Decode(record)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := envelope.Domain(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var p plainDomain
			p.Payload.EventData, p.Payload.BusinessContext = &json.RawMessage{}, &json.RawMessage{}
			if err := json.Unmarshal(record, &p); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	})
}

func TestEncodingAllocatesLittle(t *testing.T) {
	var event envelopes.Event = sampleDomain()
	metadata := event.Meta()
	// One for the result. The rest is for a pool emptied by the garbage collector or, now and then, on
	// purpose by the race detector.
	require.LessOrEqual(t, testing.AllocsPerRun(1000, func() {
		if _, err := envelopes.EncodeWith(&metadata, event); err != nil {
			t.Fatal(err)
		}
	}), 4.0)
}
