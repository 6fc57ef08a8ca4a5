package deadletter

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestProgressKnowsWhatIsSettled, whatever the order, against a set that knows each offset.
func TestProgressKnowsWhatIsSettled(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 1))
		start := random.Int64N(1000)
		p, err := readProgress(start, "")
		require.NoError(t, err)
		model := map[int64]bool{}
		for range 60 {
			first := start - 5 + random.Int64N(100)
			end := first + random.Int64N(4)
			p.settle(first, end)
			for at := first; at < end; at++ {
				model[at] = true
			}
			next := start
			for model[next] {
				next++
			}
			require.Equal(t, next, p.next)
			for at := start; at < start+110; at++ {
				require.Equal(t, model[at], p.settled(at), "offset %d", at)
			}
			again, err := readProgress(p.next, p.note())
			require.NoError(t, err)
			require.Equal(t, p.next, again.next)
			require.ElementsMatch(t, p.spans, again.spans)
			for i := 1; i < len(p.spans); i++ {
				require.Less(t, p.spans[i-1].end, p.spans[i].first, "as few spans as can be")
			}
		}
	}
}

func TestProgressIsShort(t *testing.T) {
	t.Parallel()
	p, err := readProgress(1_000_000_000, "")
	require.NoError(t, err)
	for i := range int64(900) {
		p.settle(1_000_000_000+2*i+1, 1_000_000_000+2*i+2)
	}
	require.Less(t, len(p.note()), maxNote, "every second of 1,800 letters")
}

func TestANoteOfSomebodyElseIsRefused(t *testing.T) {
	t.Parallel()
	for _, note := range []string{"consumer-7", "1:", "1:1", "1:0+1", "1:1+0", "1:1+-1", "2:1+1", "1:x+!"} {
		_, err := readProgress(1, note)
		require.ErrorContains(t, err, "group of its own", note)
	}
}
