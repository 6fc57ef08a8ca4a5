package bench

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// cost is what a part took of the clock, and of the processors for this process: neither the database nor
// a broker in a process of its own is counted.
type cost struct{ wall, cpu time.Duration }

func (c *cost) add(other cost) {
	c.wall += other.wall
	c.cpu += other.cpu
}

// per is the processors' time for each of n, in microseconds.
func (c cost) per(n int) float64 { return float64(c.cpu.Nanoseconds()) / 1000 / float64(n) }

// timed says what a part cost, whose garbage nothing before it adds to.
func timed(do func() error) (cost, error) {
	runtime.GC()
	start, cpu := time.Now(), cpuTime()
	err := do()
	return cost{wall: time.Since(start), cpu: cpuTime() - cpu}, err
}

// resident is the memory of this process that is in RAM, in bytes; false where that is not known (not
// Linux).
func resident() (int64, bool) {
	text, err := os.ReadFile("/proc/self/statm")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err == nil
}

// transactions is how many the room's database has ended, those of its other users too. A session tells of
// its own at most once a second, and when it is idle.
func (r *room) transactions(ctx context.Context) (n int64, err error) {
	err = r.servers.admin.QueryRowContext(ctx, `SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()`).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("%w", err)
	}
	return n, nil
}
