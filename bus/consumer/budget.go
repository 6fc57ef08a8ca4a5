package consumer

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// DefaultRebalanceTimeout is how long a consumer group waits for a busy member unless it was told
// otherwise: sarama's Consumer.Group.Rebalance.Timeout, rebalance.timeout.ms of Kafka Connect.
const DefaultRebalanceTimeout = time.Minute

// budget is how the time is divided that one delivery of a message may take. Together its parts stay
// below the group's rebalance timeout: a member that is still busy then is thrown out, and its message
// handled by another at the same time.
type budget struct {
	// limit is the group's rebalance timeout, negative for none.
	limit time.Duration
	// elapsed is when the last attempt begins at the latest, attempt how long it takes, and publish how
	// long the dead letter. Negative is no limit.
	elapsed, attempt, publish time.Duration
}

// budget returns the configuration's, with defaults.
func (c Config) budget() budget {
	b := budget{
		limit:   cmp.Or(c.RebalanceTimeout, DefaultRebalanceTimeout),
		elapsed: c.Retry.withDefaults().MaxElapsed,
		attempt: cmp.Or(c.Timeout, DefaultTimeout),
		publish: cmp.Or(c.DeadLetter.PublishTimeout, defaultPublishTimeout),
	}
	if c.Retry.MaxRetries < 0 {
		b.elapsed = 0
	}
	if b.elapsed < 0 && b.limit > 0 {
		// As long as it can be, with something to spare.
		b.elapsed = max(b.limit*19/20-b.attempt-b.publish, 0)
	}
	return b
}

// fault says why a message may take longer than its group waits, nil if it cannot.
func (b budget) fault() error {
	switch {
	case b.limit < 0:
		return nil
	case b.attempt < 0:
		return errors.New("consumer: Timeout is negative, so that an attempt may take longer than the consumer group waits for a busy member: set Timeout, or RebalanceTimeout to -1 for a subscriber without groups")
	case b.sum() >= b.limit:
		return fmt.Errorf("consumer: a message may take %s (Retry.MaxElapsed %s, Timeout %s, DeadLetter.PublishTimeout %s), and its group throws a busy member out after RebalanceTimeout (%s): shorten them, or lengthen the group's rebalance timeout and RebalanceTimeout with it",
			b.sum(), b.elapsed, b.attempt, b.publish, b.limit)
	default:
		return nil
	}
}

func (b budget) sum() time.Duration { return b.elapsed + b.attempt + b.publish }

// within returns the budget for a group with this rebalance timeout, zero for not known, and whether it
// had to be shortened: everything by the same factor.
func (b budget) within(group time.Duration) (budget, bool) {
	if b.limit < 0 || group <= 0 || b.sum() < group {
		return b, false
	}
	factor := 0.95 * float64(group) / float64(b.sum())
	shorten := func(d time.Duration) time.Duration { return time.Duration(factor * float64(d)) }
	return budget{group, shorten(b.elapsed), shorten(b.attempt), shorten(b.publish)}, true
}
