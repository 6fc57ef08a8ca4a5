package jsonscan_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/internal/jsonscan"
)

var samples = []string{
	``, ` `, `1`, ` 1 `, `-`, `-0`, `01`, `1.`, `.5`, `1.5e`, `1.5e+`, `1.5e+9`, `1E-0`, `--1`, `+1`, `0x1`, `NaN`, `1 1`, `0.`, `-1.0e05`,
	`true`, `tru`, `truex`, `false`, `null`, `nul`, `"`, `""`, `"a`, `"\`, `"\"`, `"\""`, `"\x"`, `"\u12"`, `"\u12g4"`, `"\u12Af"`, "\"\t\"", "\"\x7f\"",
	"\"\xff\xfe\"", `"ünïcödé, long enough for eight bytes at a time"`, "\"seven..\x1f\"", `"12345678"`, `"1234567\"8"`, `"1234567`, `"12345678`,
	`{}`, `{ }`, `{`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a":1 "b":2}`, `{"a":1,"b":[2,{"c":null}]}`, `{a:1}`, `{"a":1}}`, `{,}`, `{"a":1,,"b":2}`, `{"a" : 1 , "b" : 2 }`,
	`[]`, `[ ]`, `[`, `[1`, `[1,`, `[1,]`, `[,1]`, `[1 2]`, `[[],[[]]]`, `[1]]`, "\ufeff1", "[1\v]", "\n[\t1\r]\n",
}

func TestValidIsAsEncodingJSONHasIt(t *testing.T) {
	t.Parallel()
	for _, text := range samples {
		require.Equal(t, json.Valid([]byte(text)), jsonscan.Valid([]byte(text)), "%q", text)
		// What stands before must not matter to a reader of eight bytes at a time.
		for shift := range 9 {
			shifted := `["` + strings.Repeat("x", shift) + `",` + text + `]`
			require.Equal(t, json.Valid([]byte(shifted)), jsonscan.Valid([]byte(shifted)), "%q", shifted)
		}
	}
	// Every byte, at every place of a word.
	for b := range 256 {
		for place := range 17 {
			text := []byte(`"` + strings.Repeat("a", 17) + `"`)
			text[1+place] = byte(b)
			require.Equal(t, json.Valid(text), jsonscan.Valid(text), "%q", text)
		}
	}
	for _, depth := range []int{999, 1000, 1001, 9_999, 10_000, 10_001, 100_000} {
		for _, parts := range [][2]string{{"[", "]"}, {`{"a":`, "1}"}} {
			text := []byte(strings.Repeat(parts[0], depth) + strings.Repeat(parts[1], depth))
			if parts[1] == "1}" {
				text = []byte(strings.Repeat(parts[0], depth) + "1" + strings.Repeat("}", depth))
			}
			require.Equal(t, json.Valid(text), jsonscan.Valid(text), "depth %d", depth)
		}
	}
}

func FuzzValid(f *testing.F) {
	for _, text := range samples {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		require.Equal(t, json.Valid(data), jsonscan.Valid(data))
	})
}

func BenchmarkValid(b *testing.B) {
	record := []byte(`{"metadata":{"event_id":"0190b8e4-7b1c-7cc3-98c4-dc0c0c07398f","timestamp":"2024-07-15T12:00:00.123456Z","service_name":"user-service",` +
		`"service_version":"1.0.0","correlation_id":"req-1","causation_id":null,"user_id":"user-7","session_id":null,"priority":"normal","custom_headers":{}},` +
		`"event_type":"user_created","payload":{"aggregate_type":"user","aggregate_id":"user-123","event_version":1,"event_data":{"email":"user@example.com","n":[1,2.5,-3e9]}}}`)
	b.Run("tailrace", func(b *testing.B) {
		b.SetBytes(int64(len(record)))
		for b.Loop() {
			if !jsonscan.Valid(record) {
				b.Fatal("not valid")
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.SetBytes(int64(len(record)))
		for b.Loop() {
			if !json.Valid(record) {
				b.Fatal("not valid")
			}
		}
	})
}
