package outbox

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestJumpIsThePapers, by the vectors that Guava and others test theirs with.
func TestJumpIsThePapers(t *testing.T) {
	t.Parallel()
	for _, v := range []struct {
		key     uint64
		buckets int
		want    int
	}{{1, 1, 0}, {42, 57, 43}, {0xDEAD10CC, 1, 0}, {0xDEAD10CC, 666, 361}, {256, 1024, 520}} {
		require.Equal(t, v.want, jump(v.key, v.buckets), "%+v", v)
	}
	for key, want := range map[string]uint64{"": 0xcbf29ce484222325, "a": 0xaf63dc4c8601ec8c, "foobar": 0x85944171f73967e8} {
		require.Equal(t, want, keyHash([]byte(key)), key)
	}
}
