package redact_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/envelopes/redact"
)

const planted = "PLANTED7SECRET"

// secretNames takes turns in what FuzzRaw plants.
var secretNames = []string{"password", "userToken", "X-Api-Key", "ssn", "card_number", "p\\u0061sswd"}

// plant puts a secret under a name that says so into each object.
func plant(text string) string {
	var b strings.Builder
	inside, n := false, 0
	for i := range len(text) {
		b.WriteByte(text[i])
		switch {
		case text[i] == '"' && !escaped(text, i):
			inside = !inside
		case text[i] == '{' && !inside:
			name := secretNames[n%len(secretNames)]
			n++
			b.WriteString(`"` + name + `":["` + planted + `",{"a":"` + planted + `"}]`)
			if rest := strings.TrimLeft(text[i+1:], " \t\r\n"); rest[0] != '}' {
				b.WriteByte(',')
			}
		}
	}
	return b.String()
}

func escaped(text string, at int) bool {
	slashes := 0
	for at--; at >= 0 && text[at] == '\\'; at-- {
		slashes++
	}
	return slashes%2 == 1
}

// FuzzRaw plants secrets into any JSON and looks for them in what comes out, which must be JSON, within
// the limit, and not change when it is redacted again.
func FuzzRaw(f *testing.F) {
	for _, seed := range []string{
		`{}`, `[]`, `null`, `{"a":{"b":[{"c":"}{"},1]},"d":"\"{"}`, ` { "a" : [ { } , { "x" : 1.5e9 } ] } `,
		`{"a":"` + strings.Repeat("語\\n", 200) + `","b":[` + strings.Repeat("1,", 300) + `{}]}`,
		strings.Repeat(`{"a":`, 100) + `1` + strings.Repeat(`}`, 100),
		`{"` + strings.Repeat("k", 400) + `":{"[cut]":"[1 bytes left out]"}}`,
		`["\ud83d\ude00\ud83d","\u0000` + strings.Repeat(`\ud83d\ude00`, 90) + `"]`,
		`"` + strings.Repeat("\\\\", 300) + `"`, strings.Repeat("[", 300) + strings.Repeat("]", 300),
	} {
		f.Add(seed)
	}
	short, err := redact.New(redact.Config{Limit: redact.MinLimit})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) || strings.Contains(text, planted) {
			t.Skip()
		}
		text = plant(text)
		if !json.Valid([]byte(text)) {
			t.Skip() // Too deep now.
		}
		for r, limit := range map[*redact.Redactor]int{redact.Default(): redact.DefaultLimit, short: redact.MinLimit} {
			out, err := r.Raw([]byte(text))
			require.NoError(t, err)
			require.True(t, json.Valid(out), "%q", out)
			require.NotContains(t, string(out), planted)
			require.LessOrEqual(t, len(out), max(limit, min(limit, len(text))))
			again, err := r.Raw(out)
			require.NoError(t, err)
			require.Equal(t, string(out), string(again))
			encoded, err := r.JSON(json.RawMessage(text))
			require.NoError(t, err)
			require.True(t, json.Valid(encoded))
			require.NotContains(t, string(encoded), planted)
		}
	})
}

// tree can hold itself in every way that a type can.
type tree struct {
	Secret string `json:"name" redact:"true"`
	Text   string `json:"text"`
	Sub    *tree
	List   []tree
	Map    map[string]*tree
	Any    any
	Raw    json.RawMessage
	Keys   map[textKey]any
}

// grow makes a tree by what the bytes say, with secrets where tags and names are.
func grow(data []byte, depth int) (*tree, []byte) {
	t := &tree{Secret: planted, Text: "kept", Raw: json.RawMessage(`{"name":"kept","token":"` + planted + `"}`)}
	for len(data) > 0 && depth < 8 {
		what := data[0]
		data = data[1:]
		var sub *tree
		switch what % 10 {
		case 0:
			return t, data
		case 1:
			t.Sub, data = grow(data, depth+1)
		case 2:
			sub, data = grow(data, depth+1)
			t.List = append(t.List, *sub, tree{})
		case 3:
			sub, data = grow(data, depth+1)
			t.Map = map[string]*tree{"a": sub, "name": nil, "ssn": sub}
		case 4:
			t.Any, data = grow(data, depth+1)
		case 5:
			sub, data = grow(data, depth+1)
			t.Any = map[any]any{}
			t.Any = []any{what, map[string]any{"x": *sub, "\xff": sub, "\ufffd": 1, "name": "kept", "apiKey": planted}}
		case 6:
			sub, data = grow(data, depth+1)
			t.Any = itself{number: planted, Holder: []any{sub}}
		case 7:
			sub, data = grow(data, depth+1)
			t.Keys = map[textKey]any{{1}: sub, {3}: 1, {5}: *sub}
		case 8:
			sub, data = grow(data, depth+1)
			t.Any = struct {
				*tree
				Text any
			}{sub, list{*sub}}
		case 9:
			sub, data = grow(data, depth+1)
			t.Any = map[uint8]any{what: map[int]any{-int(what): sub}}
		}
	}
	return t, data
}

// FuzzJSON does the same to values with tagged fields, behind everything that a value can be behind.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{"", "\x01\x02\x03\x04\x05\x06\x07\x08\x09", "\x05\x05\x05", "\x08\x06\x04\x08", "\x07\x01\x07\x00\x04\x09", "\x02\x08\x00\x03\x05\x00\x06\x07"} {
		f.Add([]byte(seed))
	}
	boundless, err := redact.New(redact.Config{Limit: -1})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, data []byte) {
		value, _ := grow(data, 0)
		out, err := boundless.JSON(value)
		require.NoError(t, err)
		require.True(t, json.Valid(out))
		require.NotContains(t, string(out), planted)
		require.Contains(t, string(out), `"kept"`)
		again, err := boundless.Raw(out)
		require.NoError(t, err)
		require.Equal(t, string(out), string(again))

		cut, err := redact.Default().JSON(value)
		require.NoError(t, err)
		require.True(t, json.Valid(cut))
		require.LessOrEqual(t, len(cut), redact.DefaultLimit)
		require.NotContains(t, string(cut), planted)
	})
}
