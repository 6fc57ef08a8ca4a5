package redact_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/envelopes/redact"
)

// limited cuts to 256 bytes.
func limited(t testing.TB, value any) string {
	t.Helper()
	r, err := redact.New(redact.Config{Limit: 256})
	require.NoError(t, err)
	out, err := r.JSON(value)
	require.NoError(t, err)
	require.True(t, json.Valid(out), string(out))
	require.LessOrEqual(t, len(out), 256)
	again, err := r.Raw(out)
	require.NoError(t, err)
	require.Equal(t, string(out), string(again))
	return string(out)
}

func TestALongTextIsCutAfterAWholeCharacter(t *testing.T) {
	t.Parallel()
	for name, unit := range map[string]string{
		"one byte": "a", "two": "é", "three": "語", "four": "😀", "escaped": "\"", "escaped by number": "\x01", "mixed": "a\n語😀\x7f\\",
	} {
		for pad := range 4 {
			text := strings.Repeat("-", pad) + strings.Repeat(unit, 500)
			var got string
			require.NoError(t, json.Unmarshal([]byte(limited(t, text)), &got))
			kept, marker, found := strings.Cut(got, "… [")
			require.True(t, found, name)
			require.True(t, utf8.ValidString(kept), name)
			require.True(t, strings.HasPrefix(text, kept), name)
			require.Equal(t, fmt.Sprintf("%d bytes left out]", len(text)-len(kept)), marker, name)
			require.Greater(t, len(kept), 30, name)
		}
	}
	escaped := json.RawMessage(`"` + strings.Repeat(`\ud83d\ude00`, 60) + `\ud83d"`)
	var got string
	require.NoError(t, json.Unmarshal([]byte(limited(t, escaped)), &got))
	kept, marker, _ := strings.Cut(got, "…")
	require.Empty(t, strings.Trim(kept, "😀"))
	require.Equal(t, fmt.Sprintf(" [%d bytes left out]", 60*4+3-len(kept)), marker)
}

func TestWhatIsSmallSurvivesWhatIsLarge(t *testing.T) {
	t.Parallel()
	out := limited(t, struct {
		Body  string
		ID    int
		Inner map[string]any
		Items []int
		Last  string
	}{strings.Repeat("x", 5000), 7, map[string]any{"a": strings.Repeat("y", 3000), "b": 1}, make([]int, 1000), "end"})
	var got struct {
		Body  string
		ID    int
		Inner any
		Items []any
		Last  string
	}
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	require.Equal(t, 7, got.ID)
	require.Equal(t, "end", got.Last)
	require.Contains(t, got.Body, "xxx… [")
}

func TestLongListsEndInAMarker(t *testing.T) {
	t.Parallel()
	var items []any
	out := limited(t, make([]int, 1000))
	require.NoError(t, json.Unmarshal([]byte(out), &items))
	require.Equal(t, fmt.Sprintf("[%d bytes left out]", 1999-2*(len(items)-1)), items[len(items)-1])

	many := map[string]int{}
	for i := range 1000 {
		many[fmt.Sprintf("k%03d", i)] = i
	}
	members := map[string]any{}
	out = limited(t, many)
	require.NoError(t, json.Unmarshal([]byte(out), &members))
	require.Regexp(t, `^\[\d+ bytes left out\]$`, members["[cut]"])
	require.InDelta(t, 0, members["k000"], 0)
	require.Contains(t, out, `{"k000":0,"k001":1`)
}

func TestWhatCannotBeCutIsReplaced(t *testing.T) {
	t.Parallel()
	deep := json.RawMessage(strings.Repeat("[", 5000) + strings.Repeat("]", 5000))
	require.Contains(t, limited(t, deep), `"[9`)
	number := json.RawMessage(strings.Repeat("7", 300))
	require.Equal(t, `"[300 bytes left out]"`, limited(t, number))
	require.Contains(t, limited(t, map[string]any{strings.Repeat("n", 1000): 1, "a": 2}), `"nnnn`)
}

func TestASecretIsGoneBeforeTheValueIsCut(t *testing.T) {
	t.Parallel()
	out := limited(t, map[string]string{"password": strings.Repeat("S3CRET", 1000), "a": "kept"})
	require.Equal(t, `{"a":"kept","password":"[redacted]"}`, out) //nolint:testifylint // Byte for byte.
}

func TestTheLimit(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("x", redact.DefaultLimit-2)
	out, err := redact.Default().JSON(text)
	require.NoError(t, err)
	require.Equal(t, `"`+text+`"`, string(out), "16 KiB pass")
	out, err = redact.Default().JSON(text + "x")
	require.NoError(t, err)
	require.InDelta(t, redact.DefaultLimit, len(out), 4)
	require.LessOrEqual(t, len(out), redact.DefaultLimit)
	boundless, err := redact.New(redact.Config{Limit: -1})
	require.NoError(t, err)
	out, err = boundless.JSON(strings.Repeat("x", 1<<20))
	require.NoError(t, err)
	require.Len(t, out, 1<<20+2)
}

type link struct {
	Text string
	Next *link
}

// JSON that is too deep to be read again is cut like any other.
func TestWhatIsTooDeepIsCut(t *testing.T) {
	t.Parallel()
	deep := &link{Text: "kept"}
	for range 11_000 {
		deep = &link{"kept", deep}
	}
	out, err := redact.Default().JSON(deep)
	require.NoError(t, err)
	require.True(t, json.Valid(out), "%.100s", out)
	require.Contains(t, string(out), "kept")
}
