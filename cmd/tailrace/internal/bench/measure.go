package bench

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// measure is a question, and how one round of it is answered.
type measure struct {
	// name is what --only takes.
	name string
	// question is what is measured, and baseline what ours is compared with, "" for nothing.
	question, baseline string
	// unit is that of the score: "×" for a ratio of ours to the baseline.
	unit   string
	target target
	// score is what the score is called where it is no ratio.
	score string
	// limits are the targets of figures beside the score.
	limits []limit
	// takes is about how long all of it takes with the standard sizes on two cores.
	takes time.Duration
	// embedded: only the embedded broker will do.
	embedded bool
	// procfs: it needs Linux's /proc.
	procfs bool
	// named: it is taken only when it is named, or quickly, since it takes so much of the disk.
	named bool
	// once: one round is enough, whatever was asked for.
	once bool

	round func(ctx context.Context, b *bench) (outcome, error)
	// stage, in place of round, makes what all rounds share.
	stage func(ctx context.Context, b *bench) (*stage, error)
}

// stage is what the rounds of a measure share.
type stage struct {
	round func(ctx context.Context) (outcome, error)
	close func() error
}

// limit is the target of the figure of that name.
type limit struct {
	figure, unit string
	target       target
}

// target is what the score has to reach, or with atMost what it must not exceed.
type target struct {
	value  float64
	atMost bool
}

func atLeast(value float64) target { return target{value: value} }

func atMost(value float64) target { return target{value: value, atMost: true} }

func (t target) met(score float64) bool { return t.of("").met(score) }

// outcome is what one round found. Every round of a measure has the same figures in the same order.
type outcome struct {
	score   float64
	figures []figure
}

// figure is a value that belongs to the score, such as each contender's rate.
type figure struct {
	name, unit string
	value      float64
}

const (
	ratio              = "×"
	eventsPerSec       = "events/s"
	transactionsPerSec = "transactions/s"
	statementsPerSec   = "statements/s"
	millis             = "ms"
	ofACore            = "% of a core"
	mebibytes          = "MiB"
	percent            = "%"
	tailraceName       = "Tailrace"
)

// registry is every measure, in the order in which they are taken.
func registry() []measure {
	return slices.Concat(backlogMeasures, publishMeasures, stateMeasures, spreadMeasures, gapMeasures, keptMeasures, retentionMeasures, latencyMeasures, processMeasures)
}

// contender does the same as another, n of something a go, in a room of its own each time.
type contender struct {
	name string
	n    int
	do   func(*room) (cost, error)

	gone int
	used cost
}

// take lets it have a go, on the broker of that latency.
func (c *contender) take(ctx context.Context, b *bench, latency time.Duration) error {
	r, err := b.room(ctx, latency)
	if err != nil {
		return err
	}
	return errors.Join(c.takeIn(r), r.close())
}

// takeIn lets it have a go in a room that is there.
func (c *contender) takeIn(r *room) error {
	return c.count(c.n, func() (cost, error) { return c.do(r) })
}

// count notes what it did of n.
func (c *contender) count(n int, do func() (cost, error)) error {
	used, err := do()
	c.gone += n
	c.used.add(used)
	return err
}

// inTurn has each of them take as many goes as there are contenders, going first once; one go with Quick.
func inTurn(ctx context.Context, b *bench, latency time.Duration, all []contender) error {
	turns := len(all)
	if b.Quick {
		turns = 1
	}
	for first := range turns {
		for i := range all {
			if err := all[(first+i)%len(all)].take(ctx, b, latency); err != nil {
				return err
			}
		}
	}
	return nil
}

// rate is how many it did a second, over all its goes.
func (c *contender) rate() float64 { return float64(c.gone) / c.used.wall.Seconds() }

// rates is the outcome of the first contender, which is ours, against the second; others are told beside
// them. It has each one's rate, and what each used of the processors in this process for one of what it
// did.
func rates(unit string, all ...contender) outcome {
	o := outcome{score: all[0].rate() / all[1].rate()}
	for _, c := range all {
		o.figures = append(o.figures, figure{c.name, unit, c.rate()})
	}
	for _, c := range all {
		o.figures = append(o.figures, figure{c.name + ", CPU of this process", "µs/" + strings.TrimSuffix(unit, "s/s"), c.used.per(c.gone)})
	}
	return o
}

func (m measure) skipped(why string) Result {
	return Result{Name: m.name, Question: m.question, Baseline: m.baseline, Target: m.targetOf(), Skipped: why}
}

func (m measure) targetOf() Target { return m.target.of(m.unit) }

func (t target) of(unit string) Target {
	return Target{Value: t.value, AtMost: t.atMost, Unit: unit}
}

// result sums the rounds up.
func (m measure) result(rounds []outcome) Result {
	r := m.skipped("")
	var scores []float64
	for _, round := range rounds {
		scores = append(scores, round.score)
	}
	r.Score = &Figure{Name: cmp.Or(m.score, "ratio"), Unit: m.unit, Spread: spreadOf(scores)}
	r.Met = m.target.met(r.Score.Median)
	for i, f := range rounds[0].figures {
		var values []float64
		for _, round := range rounds {
			values = append(values, round.figures[i].value)
		}
		next := Figure{Name: f.name, Unit: f.unit, Spread: spreadOf(values)}
		if i := slices.IndexFunc(m.limits, func(l limit) bool { return l.figure == f.name }); i >= 0 {
			next.Limit = &Limit{Target: m.limits[i].target.of(f.unit), Met: m.limits[i].target.met(next.Median)}
			r.Met = r.Met && next.Limit.Met
		}
		r.Figures = append(r.Figures, next)
	}
	return r
}

// Description is a measure as --list shows it.
type Description struct {
	Name, Question string
	// Targets are that of the score, with what it is of, and those of figures beside it.
	Targets []string
	// Takes is about how long it takes with the standard sizes on two cores.
	Takes time.Duration
	// Named: it is taken only when it is named.
	Named bool
}

// List describes every measure.
func List() []Description {
	var all []Description
	for _, m := range registry() {
		d := Description{Name: m.name, Question: m.question, Takes: m.takes, Named: m.named}
		d.Targets = append(d.Targets, strings.TrimSpace(m.score+" "+m.targetOf().String()+" "+m.baseline))
		for _, l := range m.limits {
			d.Targets = append(d.Targets, l.figure+" "+l.target.of(l.unit).String())
		}
		all = append(all, d)
	}
	return all
}
