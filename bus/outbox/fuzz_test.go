package outbox

import (
	"database/sql"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/internal/pgtable"
)

// FuzzTableName: no name that is accepted can leave its quotes, and none is cut by the server.
func FuzzTableName(f *testing.F) {
	for _, name := range []string{"", "event_outbox", "a.b", "a.b.c", `x"; DROP TABLE y; --`, "ü", "1a", ".", "a.", strings.Repeat("x", 60)} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		parsed, err := parseTable(name)
		if err != nil {
			return
		}
		want := name
		if name == "" {
			want = DefaultTable
		}
		require.Equal(t, want, strings.ReplaceAll(parsed.quoted(), `"`, ""))
		for _, derived := range []string{parsed.quoted(), parsed.stateTable(), parsed.versionTable(), pgtable.QuoteIdentifier(parsed.uniqueIndex()), pgtable.QuoteIdentifier(parsed.retryIndex())} {
			for part := range strings.SplitSeq(derived, ".") {
				inner := strings.TrimSuffix(strings.TrimPrefix(part, `"`), `"`)
				require.LessOrEqual(t, len(inner), 63)
				require.NotContains(t, inner, `"`)
				require.NotContains(t, inner, "'")
				require.NotContains(t, inner, `\`)
			}
		}
		again, err := parseTable(name)
		require.NoError(t, err)
		require.Equal(t, parsed.lockKey(), again.lockKey())
		require.NotEqual(t, parsed.lockKey(), parsed.migrationKey())
	})
}

// FuzzHeaders: what is written is JSON that anyone reads, and reads back as what it was.
func FuzzHeaders(f *testing.F) {
	f.Add("a", "b", "c", "d")
	f.Add("", "", `"`, `\`)
	f.Add("ü\x00\n", "\u2028", "\x7f", "{}")
	f.Add("bad", "\xff", "a", "b")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		metadata := message.Metadata{name1: value1, name2: value2, delivery.KeyMetadata: "not a header"}
		column, _, err := appendHeaders(nil, metadata, nil)
		delete(metadata, delivery.KeyMetadata)
		valid := true
		for name, value := range metadata {
			valid = valid && utf8.ValidString(name) && utf8.ValidString(value)
		}
		if !valid {
			require.ErrorIs(t, err, ErrMessage)
			return
		}
		require.NoError(t, err)
		if len(metadata) > 0 {
			require.True(t, json.Valid(column), "%q", column)
		}
		back, err := decodeHeaders(column)
		require.NoError(t, err)
		require.Equal(t, metadata, back)
	})
}

// FuzzDecodeHeaders: any column is either a flat object of strings or an error, never a panic.
func FuzzDecodeHeaders(f *testing.F) {
	for _, column := range []string{"", "null", "{}", `{"a":"b"}`, `{"a":1}`, `{"a":null}`, `[]`, `"x"`, `{`, ` { "a" : "\ud83d\ude00" } `} {
		f.Add([]byte(column))
	}
	f.Fuzz(func(t *testing.T, column []byte) {
		metadata, err := decodeHeaders(column)
		if err != nil {
			return
		}
		written, _, err := appendHeaders(nil, metadata, nil)
		require.NoError(t, err)
		back, err := decodeHeaders(written)
		require.NoError(t, err)
		delete(metadata, delivery.KeyMetadata)
		require.Equal(t, metadata, back)
	})
}

// FuzzArrays: an array literal is read by lib/pq as what was put in.
func FuzzArrays(f *testing.F) {
	f.Add("a", "b", []byte("c"))
	f.Add(`"`, `\`, []byte{})
	f.Add("{,}", "NULL", []byte{0, 255})
	f.Fuzz(func(t *testing.T, one, two string, three []byte) {
		texts := newArray(0)
		texts.text(one)
		texts.null()
		texts.text(two)
		var back []sql.NullString
		require.NoError(t, pq.Array(&back).Scan(texts.String()))
		require.Len(t, back, 3)
		require.Equal(t, sql.NullString{String: one, Valid: true}, back[0])
		require.False(t, back[1].Valid)
		require.Equal(t, two, back[2].String)

		blobs := newArray(0)
		blobs.bytes(three)
		blobs.null()
		var blob pq.ByteaArray
		require.NoError(t, blob.Scan(blobs.String()))
		require.Len(t, blob, 2)
		require.Equal(t, string(three), string(blob[0]))
		require.Nil(t, blob[1])
	})
}
