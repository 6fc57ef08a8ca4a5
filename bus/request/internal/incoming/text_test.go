package incoming_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/request/internal/incoming"
	"github.com/tailrace-go/tailrace/envelopes"
)

func TestID(t *testing.T) {
	t.Parallel()
	for _, good := range []string{
		"req-7f3a", envelopes.NewID(), "Root=1-67891233-abcdef012345678912345678", "a.b_c:d/e+f=g@h~i|j;k,l", strings.Repeat("x", incoming.MaxID),
	} {
		require.True(t, incoming.ID(good), good)
	}
	for _, bad := range []string{
		"", " ", "a b", "a\nb", "a\r\nSet-Cookie: x", "<b>", `"`, "'", "${jndi:ldap://x}", "ä", "\xff", "a\x00", strings.Repeat("x", incoming.MaxID+1),
	} {
		require.False(t, incoming.ID(bad), bad)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ in, want string }{
		{"", ""},
		{"curl/8.5.0", "curl/8.5.0"},
		{" a\tb\x1b[31m\x7f ", "ab[31m"},
		{"a\xffb\xc3", "ab"},
		{strings.Repeat("a", 300), strings.Repeat("a", 10)},
		{"123456789ä", "123456789"},
		{"12345678ä0", "12345678ä"},
		{strings.Repeat("\x01", 100), ""},
	} {
		require.Equal(t, test.want, incoming.Text(test.in, 10), test.in)
	}
}

func FuzzText(f *testing.F) {
	for _, seed := range []string{"", "Mozilla/5.0 (X11; Linux x86_64)", "ä\xff\x00\u2028", strings.Repeat("€", 100)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := incoming.Text(text, incoming.MaxUserAgent)
		require.LessOrEqual(t, len(got), incoming.MaxUserAgent)
		require.True(t, utf8.ValidString(got))
		require.False(t, strings.ContainsFunc(got, unicode.IsControl))
		require.False(t, incoming.ID(text) && got != text && len(text) <= incoming.MaxUserAgent, "an id is harmless text")
	})
}
