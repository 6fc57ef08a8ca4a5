// Package pace says how long a forwarder waits before it tries again, and waits.
package pace

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is the wait after a failed attempt, counted from 1: least after the first, doubling with each, at
// most the most. Up to a fifth less is by chance, so that what failed together is not tried together.
func Backoff(least, most time.Duration, attempt int) time.Duration {
	wait := most
	if shift := attempt - 1; shift < 30 {
		wait = min(wait, least<<shift)
	}
	return wait - time.Duration(rand.Int64N(int64(wait)/5+1))
}

// Jitter is d, or up to a quarter less by chance, so that processes do not ask all at once.
func Jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Int64N(int64(d)/4+1))
}

// Sleep waits, and reports false when ctx ended first.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
