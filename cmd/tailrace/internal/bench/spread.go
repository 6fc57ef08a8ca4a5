package bench

import (
	"context"
	"fmt"
	"time"
)

// manyTopics is over how many the standard backlog is spread. It is not scaled up: a cluster has its limits.
const manyTopics = 200

// spreadMeasures have the usual backlog go to many topics, or have as many keys as events.
var spreadMeasures = []measure{
	{
		name: "topics", question: "forward a backlog spread over 200 topics beside a loop without guarantees", baseline: loopUpdate,
		unit: ratio, target: atLeast(0.8), limits: []limit{{manyOverOne, ratio, atLeast(0.5)}}, takes: time.Minute, round: overTopics,
	},
	{
		name: "keys", question: "forward a backlog in which every event has a key of its own", baseline: "1,000 keys",
		unit: ratio, target: atLeast(0.8), takes: 15 * time.Second, round: withKeys,
	},
}

const manyOverOne = "many topics / one topic"

// overTopics compares ours with the loop over the same topics: more partitions make smaller batches, of which
// the broker has more, whoever sends them. Beside them is ours with one topic.
func overTopics(ctx context.Context, b *bench) (outcome, error) {
	n, topics := b.scaled(standardEvents, 100), min(manyTopics, b.scaled(manyTopics, 10))
	over := fmt.Sprintf("%d topics", topics)
	spread := func(do func(*room) (cost, error)) func(*room) (cost, error) {
		return func(r *room) (cost, error) {
			if err := r.spread(ctx, topics); err != nil {
				return cost{}, err
			}
			return do(r)
		}
	}
	all := []contender{
		{name: tailraceName + ", " + over, n: n, do: spread(b.forwardBacklog(ctx, n))},
		{name: loopUpdate + ", " + over, n: n, do: spread(func(r *room) (cost, error) { return r.loop(ctx, n, settleByUpdate) })},
		{name: tailraceName + ", one topic", n: n, do: b.forwardBacklog(ctx, n)},
	}
	if err := inTurn(ctx, b, 0, all); err != nil {
		return outcome{}, err
	}
	o := rates(eventsPerSec, all...)
	o.figures = append(o.figures, figure{manyOverOne, ratio, all[0].rate() / all[2].rate()})
	return o, nil
}

// spread has what is filled in go to so many topics.
func (r *room) spread(ctx context.Context, topics int) error {
	for i := len(r.topics); i < topics; i++ {
		r.topics = append(r.topics, fmt.Sprintf("%s.%d", r.topic, i))
	}
	return r.createTopics(ctx, r.topics[1:])
}

// withKeys compares ours with itself and fewer keys.
func withKeys(ctx context.Context, b *bench) (outcome, error) {
	n := b.scaled(standardEvents, 100)
	forward := func(keys int) func(*room) (cost, error) {
		return func(r *room) (cost, error) {
			r.keys = keys
			return b.forwardBacklog(ctx, n)(r)
		}
	}
	all := []contender{
		{name: tailraceName + ", " + count(n, "keys"), n: n, do: forward(n)},
		{name: tailraceName + ", " + count(eventKeys, "keys"), n: n, do: forward(eventKeys)},
	}
	if err := inTurn(ctx, b, 0, all); err != nil {
		return outcome{}, err
	}
	return rates(eventsPerSec, all...), nil
}
