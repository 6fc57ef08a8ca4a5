// Package bench measures Tailrace on a PostgreSQL and a Kafka, the user's own or embedded ones, each time
// beside what it is compared with: same rows, same broker, in turn, in one run.
//
// A measure is an entry of a table ([registry]): its question, what ours is compared with, its target and
// a function that does one round. To add one, write that function with the helpers of [bench] and [room],
// and put the entry into a table that registry names.
package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/tailrace-go/tailrace/bus/kafka"
)

// Config says what is measured, where and how often.
type Config struct {
	// DatabaseURL is a running PostgreSQL, by an account that may create schemas. Default: one started from
	// the binaries of this machine, or from downloaded ones.
	DatabaseURL string
	// Kafka is a running cluster, by an account that may create and delete topics. Default: an embedded
	// broker in a process of its own.
	Kafka *kafka.Config
	// Only names the measures to take. Default: all, but for those that have to be named.
	Only []string
	// Events is the backlog; what a measure needs more or less of is scaled by it. Default 40,000, with
	// Quick 2,000.
	Events int
	// Repeat is how many rounds each measure takes. Default 3, with Quick 1.
	Repeat int
	// Quick is for a look at whether all works: the figures mean little.
	Quick bool
	// ProfileDir gets a CPU profile of our part of each measure. Default: none.
	ProfileDir string
	// Forward is this program as a forwarder that reaches the cluster, without the table it forwards and the
	// database. Without it, what needs a process of its own is an error.
	Forward *Program
	// Tuning is what ours is told besides its defaults, and how topics are made.
	Tuning Tuning
	// Version is that of this program, for the report.
	Version string
	// Progress gets a line for each round. Default: nobody.
	Progress io.Writer
}

// Tuning is what an operator may turn. Zero values stand for the defaults of the forwarder and the sender.
type Tuning struct {
	// BatchSize and Window are those of forwarder.Config, in rows.
	BatchSize, Window int
	// Compression is that of kafka.SenderConfig.
	Compression kafka.Compression
	// Partitions of the topics. Default 6.
	Partitions int32
}

// standardEvents is the backlog that sizes are written down for.
const standardEvents = 40_000

func (c Config) complete() (Config, []measure, error) {
	if c.Events == 0 {
		c.Events = standardEvents
		if c.Quick {
			c.Events = standardEvents / 20
		}
	}
	if c.Repeat == 0 {
		c.Repeat = 3
		if c.Quick {
			c.Repeat = 1
		}
	}
	c.Tuning.Partitions = cmp.Or(c.Tuning.Partitions, 6)
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	chosen, err := choose(c.Only, c.Quick)
	return c, chosen, err
}

// choose returns the measures of those names; for none, all that need not be named.
func choose(names []string, quick bool) ([]measure, error) {
	if len(names) == 0 {
		return slices.DeleteFunc(registry(), func(m measure) bool { return m.named && !quick }), nil
	}
	var chosen []measure
	var unknown []string
	for _, name := range names {
		i := slices.IndexFunc(registry(), func(m measure) bool { return m.name == name })
		if i < 0 {
			unknown = append(unknown, name)
			continue
		}
		chosen = append(chosen, registry()[i])
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("%w: %s (see --list)", ErrUnknown, strings.Join(unknown, ", "))
	}
	return chosen, nil
}

// ErrUnknown is a name of no measure.
var ErrUnknown = errors.New("no such measure")

// Check reports names in Config.Only that are none; the error wraps [ErrUnknown].
func Check(only []string) error {
	_, err := choose(only, false)
	return err
}

// bench is what a measure's round works with.
type bench struct {
	Config

	servers *servers
	profile profiler
}

// Run takes the measures. It makes schemas and topics of its own, named tailrace_bench_… and
// tailrace.bench.…, touches no others, and has removed them when it returns, also when ctx ends. With an
// error the report has what was measured before.
func Run(ctx context.Context, config Config) (report Report, err error) {
	config, chosen, err := config.complete()
	if err != nil {
		return report, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("bench: %w", err)
		}
	}()
	report.Started = time.Now().UTC()
	b := &bench{Config: config, servers: newServers(config)}
	defer func() {
		err = errors.Join(err, b.servers.stop())
		report.Seconds = time.Since(report.Started).Seconds()
	}()
	if err := b.servers.start(ctx); err != nil {
		return report, err
	}
	if err := b.describe(ctx, &report); err != nil {
		return report, err
	}
	for _, m := range chosen {
		result, err := b.take(ctx, m)
		if err != nil {
			return report, fmt.Errorf("%s: %w", m.name, err)
		}
		report.Measures = append(report.Measures, result)
	}
	return report, nil
}

// take takes all rounds of a measure.
func (b *bench) take(ctx context.Context, m measure) (_ Result, err error) {
	if m.embedded && b.Kafka != nil {
		b.progressf("%s: skipped, %s", m.name, needsEmbedded)
		return m.skipped(needsEmbedded), nil
	}
	if m.procfs && runtime.GOOS != "linux" {
		b.progressf("%s: skipped, %s", m.name, needsLinux)
		return m.skipped(needsLinux), nil
	}
	b.profile = profiler{dir: b.ProfileDir, name: m.name}
	at := &stage{round: func(ctx context.Context) (outcome, error) { return m.round(ctx, b) }, close: func() error { return nil }}
	if m.stage != nil {
		if at, err = m.stage(ctx, b); err != nil {
			return Result{}, err
		}
	}
	defer func() { err = errors.Join(err, at.close()) }()
	repeat := b.Repeat
	if m.once {
		repeat = 1
	}
	var rounds []outcome
	for round := range repeat {
		began := time.Now()
		one, err := at.round(ctx)
		if err != nil {
			return Result{}, err
		}
		rounds = append(rounds, one)
		b.progressf("%s %d/%d: %s after %.1f s", m.name, round+1, repeat, format(one.score, m.unit), time.Since(began).Seconds())
	}
	return m.result(rounds), nil
}

const needsLinux = "it asks /proc what a process uses, which only Linux has"

const needsEmbedded = "it needs the embedded broker, whose answers it delays: leave KAFKA_BROKERS out"

func (b *bench) progressf(format string, args ...any) {
	_, _ = fmt.Fprintf(b.Progress, format+"\n", args...)
}

// scaled is how many of something a round takes that takes n with the standard backlog of 40,000; at
// least least.
func (b *bench) scaled(n, least int) int { return max(least, n*b.Events/standardEvents) }
