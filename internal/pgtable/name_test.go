package pgtable_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/internal/pgtable"
)

func TestNamesAreUsedAsTheyStand(t *testing.T) {
	t.Parallel()
	for name, quoted := range map[string]string{
		"events": `"events"`, "Order.select": `"Order"."select"`, "_9": `"_9"`, strings.Repeat("x", 50): `"` + strings.Repeat("x", 50) + `"`,
	} {
		parsed, err := pgtable.Parse(name, 50)
		require.NoError(t, err)
		require.Equal(t, quoted, parsed.Quoted())
		require.Equal(t, strings.TrimSuffix(quoted, `"`)+`_old"`, parsed.Sibling("_old"))
	}
}

func TestBadNamesAreRefusedPartByPart(t *testing.T) {
	t.Parallel()
	for name, says := range map[string][]string{
		"": {"the table part is empty"}, ".": {"the schema part is empty", "the table part is empty"}, "a.b.c": {"'.'"},
		"9": {"digit"}, `x"; DROP TABLE y; --`: {"must not have"}, "ü": {"must not have"}, strings.Repeat("x", 51): {"51 bytes"},
		strings.Repeat("s", 64) + ".t": {"schema part has 64 bytes"},
	} {
		_, err := pgtable.Parse(name, 50)
		for _, part := range says {
			require.ErrorContains(t, err, part, name)
		}
	}
}

// A lock belongs to one purpose at one table; a name without a schema means the one in public.
func TestKeys(t *testing.T) {
	t.Parallel()
	events := pgtable.Name{Base: "events"}
	require.Equal(t, events.Key("a"), pgtable.Name{Schema: "public", Base: "events"}.Key("a"))
	require.NotEqual(t, events.Key("a"), events.Key("b"))
	require.NotEqual(t, events.Key("a"), pgtable.Name{Base: "other"}.Key("a"))
	require.NotEqual(t, events.Key("a"), pgtable.Name{Schema: "app", Base: "events"}.Key("a"))
}

func TestErrors(t *testing.T) {
	t.Parallel()
	locked := errors.Join(errors.New("migrate"), &pq.Error{Code: pgtable.LockNotAvailable})
	require.True(t, pgtable.Retryable(locked))
	require.False(t, pgtable.Retryable(&pq.Error{Code: pgtable.UndefinedTable}))
	require.Empty(t, pgtable.SQLState(errors.New("no state")))

	ctx, cancel := context.WithCancel(t.Context())
	require.Equal(t, locked, pgtable.WithContext(ctx, locked))
	cancel()
	require.ErrorIs(t, pgtable.WithContext(ctx, locked), context.Canceled)
	require.NoError(t, pgtable.WithContext(ctx, nil))
}
