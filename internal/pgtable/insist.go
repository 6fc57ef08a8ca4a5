package pgtable

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// DefaultLockTimeout is how long a migration waits for a lock that stops the table's writers, who queue behind the
// wait.
const DefaultLockTimeout = 50 * time.Millisecond

// LockTimeout returns the lock timeout that was given, or the default for 0; of names the room in the error.
func LockTimeout(of string, given time.Duration) (time.Duration, error) {
	if given == 0 {
		return DefaultLockTimeout, nil
	}
	if given < time.Millisecond {
		return 0, fmt.Errorf("%s: MigrateConfig.LockTimeout is %s: at least 1ms, or 0 for %s", of, given, DefaultLockTimeout)
	}
	return given, nil
}

// Insist runs a migration again and again for as long as it gives way to somebody's lock, until ctx ends. Of
// names the room; run returns the table as it is known by then.
func Insist(ctx context.Context, logger *slog.Logger, of string, run func() (table string, err error)) error {
	pause := 20 * time.Millisecond
	for {
		table, err := run()
		if err == nil || !Retryable(err) {
			return WithContext(ctx, err)
		}
		logger.InfoContext(ctx, of+" migration waits for a lock and tries again", "table", table, "error", err, "pause", pause)
		if err := Wait(ctx, pause); err != nil {
			return fmt.Errorf("%s: migrate %s: %w", of, table, err)
		}
		pause = min(2*pause, time.Second)
	}
}
