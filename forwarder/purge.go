package forwarder

import (
	"context"
	"time"
)

const (
	// purgeStep bounds one DELETE, so that it never holds many rows at once.
	purgeStep = 5000
	// purgePause lets publishers through between two steps.
	purgePause = 20 * time.Millisecond
)

// purge deletes processed rows that are older than the retention, from the lowest id on, in bounded
// steps.
func (f *Forwarder) purge(ctx context.Context) {
	pause := func(d time.Duration) bool {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		}
	}
	for pause(f.config.PurgeInterval) {
		total := 0
		for after, more := int64(0), true; more; {
			last, rest, deleted, err := f.store.Purge(ctx, after, f.config.Retention, purgeStep)
			if err != nil {
				if ctx.Err() == nil {
					f.config.Logger.Warn("could not purge processed rows; trying again at the next interval", "error", err)
				}
				break
			}
			total += deleted
			after, more = last, rest
			if more && !pause(purgePause) {
				return
			}
		}
		if total > 0 {
			f.metrics.purged(total)
			f.config.Logger.Info("purged processed rows", "rows", total, "older_than", f.config.Retention)
		}
	}
}
