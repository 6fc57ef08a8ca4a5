package bench

import (
	"bytes"
	"fmt"
	"io/fs"
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

// usage is what a process uses.
type usage struct {
	// cpu is what it has used of the processors, in user mode and in the kernel.
	cpu time.Duration
	// resident is its memory that is in RAM, in bytes, and peak the most there ever was.
	resident, peak int64
}

// userHz is the unit of Linux's /proc/…/stat: 1/100 s on every architecture that Go runs on.
const userHz = 100

// usageOf asks Linux for what a process uses; an error elsewhere.
func usageOf(pid int) (u usage, err error) {
	process := os.DirFS("/proc/" + strconv.Itoa(pid))
	stat, err := fs.ReadFile(process, "stat")
	if err != nil {
		return u, fmt.Errorf("%w", err)
	}
	// proc(5): utime and stime are the 14th and 15th field; the second, in brackets, may hold spaces.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return u, fmt.Errorf("%w", err)
		}
		ticks += n
	}
	u.cpu = time.Duration(ticks) * time.Second / userHz
	status, err := fs.ReadFile(process, "status")
	if err != nil {
		return u, fmt.Errorf("%w", err)
	}
	for name, into := range map[string]*int64{"VmRSS": &u.resident, "VmHWM": &u.peak} {
		kibibytes, err := strconv.ParseInt(strings.TrimSuffix(lineOf(string(status), name), " kB"), 10, 64)
		if err != nil {
			return u, fmt.Errorf("%w", err)
		}
		*into = kibibytes << 10
	}
	return u, nil
}
