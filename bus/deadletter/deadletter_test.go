package deadletter_test

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/deadletter"
)

func TestReason(t *testing.T) {
	t.Parallel()

	require.Empty(t, deadletter.Reason(nil))
	require.Equal(t, "no such user", deadletter.Reason(errors.New("no such user")))
	require.Equal(t, "a\uFFFDb", deadletter.Reason(errors.New("a\xffb")), "headers are text")

	exact := strings.Repeat("x", deadletter.MaxReason)
	require.Equal(t, exact, deadletter.Reason(errors.New(exact)))

	for pad := range 4 { // the cut falls on every byte of a rune once
		long := strings.Repeat("x", pad) + strings.Repeat("€", deadletter.MaxReason)
		got := deadletter.Reason(errors.New(long))
		require.LessOrEqual(t, len(got), deadletter.MaxReason)
		require.Greater(t, len(got), deadletter.MaxReason-8)
		require.True(t, utf8.ValidString(got))
		require.True(t, strings.HasSuffix(got, "…"))
	}
}

func TestTimeIsUTC(t *testing.T) {
	t.Parallel()
	local := time.Date(2026, 3, 1, 1, 0, 0, 5, time.FixedZone("", 3600))
	require.Equal(t, "2026-03-01T00:00:00.000000005Z", deadletter.Time(local))
}
