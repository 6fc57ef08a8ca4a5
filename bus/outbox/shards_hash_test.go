package outbox_test

import (
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

// TestShardOfIsFixed: a key whose shard changed would be in two tables at once.
func TestShardOfIsFixed(t *testing.T) {
	t.Parallel()
	shards := []int{1, 2, 3, 4, 5, 8, 16, 64}
	for key, want := range map[string][]int{
		"":                                     {0, 1, 1, 1, 1, 1, 13, 17},
		"a":                                    {0, 1, 2, 2, 2, 2, 12, 31},
		"user-1":                               {0, 1, 1, 1, 1, 7, 12, 47},
		"user-2":                               {0, 0, 0, 0, 0, 7, 7, 17},
		"0190b5c2-7d3e-7a41-9c55-2f6d0e8b1a01": {0, 0, 0, 3, 3, 3, 15, 50},
		"\x00\xff":                             {0, 1, 1, 3, 3, 7, 15, 15},
		"größe":                                {0, 0, 0, 0, 0, 0, 0, 0},
	} {
		got := make([]int, len(shards))
		for i, n := range shards {
			got[i] = outbox.ShardOf([]byte(key), n)
		}
		require.Equal(t, want, got, "%q", key)
	}
}

func TestMoreShardsMoveKeysToNewOnesOnly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOf(rapid.Byte()).Draw(t, "key")
		before := rapid.IntRange(1, outbox.MaxShards).Draw(t, "before")
		after := rapid.IntRange(before, outbox.MaxShards).Draw(t, "after")
		was, is := outbox.ShardOf(key, before), outbox.ShardOf(key, after)
		if was < 0 || was >= before || is < 0 || is >= after {
			t.Fatalf("out of range: %d of %d, %d of %d", was, before, is, after)
		}
		if is != was && is < before {
			t.Fatalf("%q moved from %d to %d, which was there before", key, was, is)
		}
		// What the owner of a new shard asks: the shard has a key for as long as it had it at first.
		if is != was && outbox.ShardOf(key, is+1) != is {
			t.Fatalf("%q is in %d of %d, but not when that was added", key, is, after)
		}
	})
}

func TestKeysSpreadEvenly(t *testing.T) {
	t.Parallel()
	const keys = 40_000
	for name, key := range map[string]func(int) string{
		"counted": func(i int) string { return fmt.Sprintf("user-%d", i) },
		"digits":  func(i int) string { return fmt.Sprint(i) },
		"uuids":   func(i int) string { return uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "%d", i)).String() },
	} {
		for _, shards := range []int{2, 3, 5, 8, 16} {
			counts := make([]int, shards)
			for i := range keys {
				counts[outbox.ShardOf([]byte(key(i)), shards)]++
			}
			for shard, n := range counts {
				require.InEpsilon(t, keys/shards, n, 0.1, "%s: shard %d of %d", name, shard, shards)
			}
		}
	}
}
