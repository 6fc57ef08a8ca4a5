package forwarder

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSweepKeepsPace: rows that come wait for a step of the sweep, so it is as short as the server is slow.
func TestSweepKeepsPace(t *testing.T) {
	t.Parallel()
	for _, row := range []time.Duration{20 * time.Nanosecond, 500 * time.Nanosecond, 3 * time.Microsecond, time.Millisecond} {
		t.Run(row.String(), func(t *testing.T) {
			t.Parallel()
			s := sweep{size: smallSweepStep}
			var took time.Duration
			for range 20 {
				took = time.Duration(s.size) * row
				pause := s.pace(s.size, took)
				require.LessOrEqual(t, pause, sweepPause)
				require.GreaterOrEqual(t, pause, min(sweepPause, sweepShare*took))
			}
			switch s.size {
			case smallSweepStep:
				require.GreaterOrEqual(t, took, sweepTakes, "it could do more")
			case sweepStep:
				require.LessOrEqual(t, took, sweepTakes)
			default:
				require.InEpsilon(t, sweepTakes, took, 0.01)
			}
			before := s.size
			s.pace(s.size, time.Second) // the server was busy with other things, once
			require.Equal(t, smallSweepStep, s.size)
			for range 6 {
				s.pace(s.size, time.Duration(s.size)*row)
			}
			require.Equal(t, before, s.size)
		})
	}
}
