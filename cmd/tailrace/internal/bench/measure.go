package bench

import (
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
	// embedded: only the embedded broker will do.
	embedded bool
	round    func(ctx context.Context, b *bench) (outcome, error)
}

// target is what the score has to reach, or with atMost what it must not exceed.
type target struct {
	value  float64
	atMost bool
}

func atLeast(value float64) target { return target{value: value} }

func (t target) met(score float64) bool {
	if t.atMost {
		return score <= t.value
	}
	return score >= t.value
}

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
	tailraceName       = "Tailrace"
)

// registry is every measure, in the order in which they are taken.
func registry() []measure {
	return slices.Concat(backlogMeasures, publishMeasures)
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
	used, err := c.do(r)
	c.gone += c.n
	c.used.add(used)
	return err
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

func (m measure) targetOf() Target {
	return Target{Value: m.target.value, AtMost: m.target.atMost, Unit: m.unit}
}

// result sums the rounds up.
func (m measure) result(rounds []outcome) Result {
	r := m.skipped("")
	var scores []float64
	for _, round := range rounds {
		scores = append(scores, round.score)
	}
	r.Score = &Figure{Name: "score", Unit: m.unit, Spread: spreadOf(scores)}
	for i, f := range rounds[0].figures {
		var values []float64
		for _, round := range rounds {
			values = append(values, round.figures[i].value)
		}
		r.Figures = append(r.Figures, Figure{Name: f.name, Unit: f.unit, Spread: spreadOf(values)})
	}
	r.Met = m.target.met(r.Score.Median)
	return r
}

// Description is a measure as --list shows it.
type Description struct {
	Name, Question, Baseline string
	Target                   Target
}

// List describes every measure.
func List() []Description {
	var all []Description
	for _, m := range registry() {
		all = append(all, Description{Name: m.name, Question: m.question, Baseline: m.baseline, Target: m.targetOf()})
	}
	return all
}
