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

func TestATextQuotesNoSecret(t *testing.T) {
	t.Parallel()
	in := map[string]any{"user": "u-1", "password": "hunter2 \"x\"", "cvv": 123, "token": map[string]any{"a": []any{"abc", true, "", 77001122}}}
	for _, c := range []struct{ shows, text, want string }{
		{"nothing to hide", "user u-1 is unknown", "user u-1 is unknown"},
		{"a secret as it is", `wrong: hunter2 "x"!`, `wrong: [redacted]!`},
		{"quoted by %q", fmt.Sprintf("wrong: %q", in["password"]), `wrong: "[redacted]"`},
		{"in a URL", "GET /?p=hunter2+%22x%22&u=1", "GET /?p=[redacted]&u=1"},
		{"within a secret value", "code 77001122: abc", "code [redacted]: [redacted]"},
		{"a short one only as a word", "cvv 123, not 1234 or x123 or abcd; 123", "cvv [redacted], not 1234 or x123 or abcd; [redacted]"},
		{"an assignment", "dial password=geheim host=db sslmode=off", "dial password=[redacted] host=db sslmode=off"},
		{"a quoted one", `dial password = 'a b' user='c'`, `dial password = [redacted] user='c'`},
		{"JSON", `body {"api_key": "k\"1", "n": 1}`, `body {"api_key": [redacted], "n": 1}`},
		{"a chain of errors", "parse token: unexpected EOF", "parse token: unexpected EOF"},
		{"a URL's password", "dial postgres://bob:geheim@db:5432/x?y=1", "dial postgres://bob:[redacted]@db:5432/x?y=1"},
		{"a URL's password that is not encoded", "dial postgres://bob:ge@he:i\"m@db:5432/x", "dial postgres://bob:[redacted]@db:5432/x"},
		{"a quoted one with a quote", `dial password='a\'b c' user='c'`, `dial password=[redacted] user='c'`},
		{"a header", "sent Authorization: Bearer abcdefghijklmnop.qr", "sent Authorization: Bearer [redacted]"},
		{"no header", "basic authentication failed", "basic authentication failed"},
	} {
		t.Run(c.shows, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, redact.Default().Text(c.text, in, nil, make(chan int)))
			require.Equal(t, c.want, redact.Default().Text(c.want, in), "again")
		})
	}
	require.Equal(t, "password=x", redact.None().Text("password=x", in))
}

func TestALongTextIsCut(t *testing.T) {
	t.Parallel()
	r, err := redact.New(redact.Config{Limit: 256})
	require.NoError(t, err)
	text := r.Text(strings.Repeat("語", 200))
	require.LessOrEqual(t, len(text), 256)
	require.True(t, utf8.ValidString(text))
	require.Regexp(t, `^語+… \[\d+ bytes left out\]$`, text)
	require.NotPanics(t, func() { r.Text(strings.Repeat("\x80", 1000)) })
}

func ExampleRedactor_Text() {
	type Login struct{ User, Password string }
	in := Login{"u-1", "hunter2"}
	err := fmt.Errorf("no user %s with %s at postgres://app:geheim@db", in.User, in.Password)
	fmt.Println(redact.Default().Text(err.Error(), in))
	// Output:
	// no user u-1 with [redacted] at postgres://app:[redacted]@db
}

// FuzzText looks for the secret, wherever it stands in a text.
func FuzzText(f *testing.F) {
	f.Add("a ", " b", "hunter2")
	f.Add("x", "y", "a\"b\\c語")
	f.Add("password=", "&", "hunter222")
	f.Fuzz(func(t *testing.T, before, after, secret string) {
		if len(secret) < 6 || !utf8.ValidString(secret) || strings.Contains(redact.Mark, secret) { //nolint:gocritic // A secret that is a part of the mark.
			t.Skip()
		}
		data, err := json.Marshal(map[string]string{"password": secret})
		require.NoError(t, err)
		out := redact.Default().Text(before+secret+after, json.RawMessage(data))
		if strings.Contains(before+redact.Mark+after, secret) || strings.Contains(out, secret) && strings.Contains(secret, "[") {
			t.Skip()
		}
		require.NotContains(t, out, secret)
	})
}
