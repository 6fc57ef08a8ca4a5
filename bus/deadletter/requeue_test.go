package deadletter_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

func TestRequeueSendsTheRecordAsItWas(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.die(250, 7, func(i int, record *delivery.Record) {
		if i%7 == 0 {
			record.Key = nil // a null key stays one
		}
	})
	p.mustRequeue(250)
	p.requireOnce(250)
	last := map[string]int{}
	for _, record := range p.broker.Records(t, orders) {
		n, err := strconv.Atoi(must(record.Header("n")))
		require.NoError(t, err)
		require.JSONEq(t, fmt.Sprintf(`{"n":%d}`, n), string(record.Value))
		require.Equal(t, "1", must(record.Header(deadletter.HeaderRequeues)))
		require.Equal(t, "welcome", must(record.Header(deadletter.HeaderRequeuedFor)))
		require.Len(t, record.Headers, 4, "nothing of the death stays")
		if n%7 == 0 {
			require.Nil(t, record.Key)
			continue
		}
		require.Equal(t, fmt.Sprintf("key-%d", n%7), string(record.Key))
		require.Equal(t, kafka.PartitionFor(record.Key, 3), record.Partition)
		require.Greater(t, n, last[string(record.Key)], "in order within the key")
		last[string(record.Key)] = n
	}

	p.mustRequeue(0) // a second run finds nothing
	p.die(1, 1)
	p.mustRequeue(1) // but what died since
	require.Zero(t, p.unsettled())
}

// TestRequeueToThePartitionOfTheKey: the topic was written to by sarama's default partitioner, which the letters
// tell by its name, or by the partition that a consumer had their record from.
func TestRequeueToThePartitionOfTheKey(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	theirs, err := kafka.NewSender(kafka.SenderConfig{Config: p.config(), Partitioner: kafka.FNV1a})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, theirs.Close()) })
	stream := theirs.Stream(delivery.StreamConfig{Report: func([]*delivery.Record, delivery.Verdict) {}})
	defer stream.Close()
	const keys = 60
	siblings := make([]*delivery.Record, keys)
	for i := range siblings {
		siblings[i] = &delivery.Record{Topic: orders, Key: fmt.Appendf(nil, "key-%d", i), Value: []byte("sibling")}
	}
	stream.Send(siblings)
	home := map[string]int32{}
	differ := 0
	for _, record := range p.broker.WaitRecords(t, orders, keys, patience) {
		home[string(record.Key)] = record.Partition
		if record.Partition != kafka.PartitionFor(record.Key, 3) {
			differ++
		}
	}
	require.Greater(t, differ, keys/3, "murmur2 would do as well")

	p.die(2*keys, keys, func(i int, record *delivery.Record) {
		if i < keys {
			with(deadletter.HeaderPartition, strconv.Itoa(int(home[string(record.Key)])))(i, record)
		} else {
			with(deadletter.HeaderPartitioner, string(kafka.FNV1a))(i, record)
		}
	})
	p.mustRequeue(2 * keys)
	records := p.broker.WaitRecords(t, orders, 3*keys, patience)
	require.Len(t, records, 3*keys)
	for _, record := range records {
		require.Equal(t, home[string(record.Key)], record.Partition, "%s", record.Key)
		_, named := record.Header(deadletter.HeaderPartitioner)
		require.False(t, named, "nothing of the death stays")
	}
}

func must(value string, _ bool) string { return value }

func TestRequeueWithAFilterLeavesTheOthers(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.die(300, 10)
	for reason := range 3 {
		require.Equal(t, 300-100*reason, p.unsettled())
		p.mustRequeue(100, func(c *deadletter.Config) { c.Filter.Reason = fmt.Sprintf("REASON %d", (reason+1)%3) })
		// The progress is the group's, not this mailbox's.
		p.mailbox = p.open("")
		p.mustRequeue(0, func(c *deadletter.Config) { c.Filter.Reason = fmt.Sprintf("REASON %d", (reason+1)%3) })
	}
	require.Zero(t, p.unsettled())
	p.requireOnce(300)
	p.mailbox = p.open("another")
	require.Equal(t, 300, p.unsettled(), "another group has progress of its own")
}

func TestRequeueOneEventAndALimit(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.die(30, 10)
	p.mustRequeue(1, func(c *deadletter.Config) { c.Filter.EventID = "event-000017" })
	require.Equal(t, map[string]int{"event-000017": 1}, p.arrived(orders))
	for left := 29; left > 0; left -= min(left, 10) {
		require.Equal(t, left, p.unsettled())
		p.mustRequeue(min(left, 10), func(c *deadletter.Config) { c.Limit = 10 })
	}
	p.requireOnce(30)
}

func TestDryRunDoesNothing(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.die(150, 10)
	var told int
	report, err := p.requeue(func(c *deadletter.Config) {
		c.DryRun, c.Sender = true, nil
		c.Tell = func(_ deadletter.Letter, fate deadletter.Fate) {
			require.Equal(t, deadletter.Fate{Outcome: deadletter.Requeued}, fate)
			told++
		}
	})
	require.NoError(t, err)
	require.Equal(t, deadletter.Report{Read: 150, Chosen: 150, Outcomes: map[deadletter.Outcome]int{deadletter.Requeued: 150}}, report)
	require.Equal(t, 150, told)
	require.Empty(t, p.arrived(orders))
	require.Equal(t, 150, p.unsettled())
}

func TestDiscard(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.die(30, 10)
	report, err := deadletter.Discard(t.Context(), deadletter.Config{Mailbox: p.mailbox, Filter: deadletter.Filter{Reason: "reason 1"}})
	require.NoError(t, err)
	require.Equal(t, 10, report.Outcomes[deadletter.Discarded])
	p.mustRequeue(20)
	require.Len(t, p.arrived(orders), 20)
	settled := 0
	require.NoError(t, deadletter.List(t.Context(), p.mailbox, deadletter.Filter{}, true, func(_ deadletter.Letter, was bool) error {
		require.True(t, was)
		if settled++; settled == 25 {
			return deadletter.ErrEnough
		}
		return nil
	}))
	require.Equal(t, 25, settled, "they are still there to be looked at")
}

func TestWhatCannotBeRequeuedIsLeft(t *testing.T) {
	t.Parallel()
	tests := []struct {
		shows string
		kill  func(int, *delivery.Record)
		want  error
	}{
		{"without its payload", with(deadletter.HeaderOmitted, "2000000"), deadletter.ErrOmitted},
		{"without its topic", with(deadletter.HeaderTopic, ""), deadletter.ErrNoOrigin},
		{"requeued too often", with(deadletter.HeaderRequeues, "5"), deadletter.ErrTooOften},
		{"of an outbox that is not given", func(_ int, record *delivery.Record) {
			record.Headers = append(record.Headers, headers(deadletter.HeaderSource, deadletter.SourceOutbox, deadletter.HeaderRow, "7")...)
		}, deadletter.ErrNoOutbox},
	}
	for _, tt := range tests {
		t.Run(tt.shows, func(t *testing.T) {
			t.Parallel()
			p := newPost(t)
			p.die(3, 1, func(i int, record *delivery.Record) {
				if i == 1 {
					tt.kill(i, record)
				}
			})
			var fates []deadletter.Fate
			report, err := p.requeue(func(c *deadletter.Config) {
				c.Limit = 2 // which what is left does not count for
				c.Tell = func(l deadletter.Letter, fate deadletter.Fate) {
					if l.EventID == "event-000001" {
						fates = append(fates, fate)
					}
				}
			})
			require.NoError(t, err)
			require.Equal(t, map[deadletter.Outcome]int{deadletter.Requeued: 2, deadletter.Left: 1}, report.Outcomes)
			require.Len(t, fates, 1)
			require.ErrorIs(t, fates[0].Err, tt.want)
			require.Equal(t, 1, p.unsettled())
		})
	}
}

func TestMaxRequeuesCanBeRaised(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.die(1, 1, with(deadletter.HeaderRequeues, "5"))
	p.mustRequeue(1, func(c *deadletter.Config) { c.MaxRequeues = -1 })
	require.Equal(t, "6", must(p.broker.Records(t, orders)[0].Header(deadletter.HeaderRequeues)))
}

// TestAFailureKeepsTheOrderOfItsKey: one topic is missing; what is behind in it waits, others go.
func TestAFailureKeepsTheOrderOfItsKey(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.die(240, 4, func(i int, record *delivery.Record) {
		if i%2 == 1 {
			with(deadletter.HeaderTopic, "marty.missing")(i, record)
		}
	})
	report, err := p.requeue()
	require.NoError(t, err)
	require.Equal(t, map[deadletter.Outcome]int{deadletter.Requeued: 120, deadletter.Failed: 120}, report.Outcomes)
	require.Equal(t, 120, p.unsettled())
	p.requireOnce(120)

	p.broker.CreateTopic(t, "marty.missing", 3, nil)
	p.mustRequeue(120)
	require.Len(t, p.arrived("marty.missing"), 120)
	last := map[string]string{}
	for _, record := range p.broker.Records(t, "marty.missing") {
		id, _ := record.Header(delivery.UUIDHeader)
		require.Greater(t, id, last[string(record.Key)])
		last[string(record.Key)] = id
	}
}

// TestAnInterruptedRunLosesNothing: a run is stopped while records are on their way, again and again.
func TestAnInterruptedRunLosesNothing(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	const n = 1000
	p.die(n, 50)
	interrupted := 0
	for {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		var settled atomic.Int32
		report, err := deadletter.Requeue(ctx, deadletter.Config{Mailbox: p.mailbox, Sender: p.sender, Tell: func(_ deadletter.Letter, fate deadletter.Fate) {
			if settled.Add(1) == 150 {
				cancel() // in the middle of the second batch's telling; the third is read
			}
		}})
		cancel()
		if err == nil {
			break
		}
		require.ErrorIs(t, err, context.Canceled)
		require.Positive(t, report.Outcomes[deadletter.Requeued])
		interrupted++
	}
	require.Greater(t, interrupted, 2)
	p.requireOnce(n)
	require.Zero(t, p.unsettled())
}

// TestARunThatCannotBeNotedSendsTwice: what was sent and not noted is sent again, and nothing is lost.
func TestARunThatCannotBeNotedSendsTwice(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.die(50, 10)
	away := errors.New("coordinator away")
	_, err := p.requeue(func(c *deadletter.Config) { c.Mailbox = forgetful{p.mailbox, away} })
	require.ErrorIs(t, err, away)
	require.Equal(t, 50, p.unsettled())
	p.mustRequeue(50)
	require.Len(t, p.arrived(orders), 50)
	require.Zero(t, p.unsettled())
}

// forgetful is a mailbox whose progress cannot be committed.
type forgetful struct {
	deadletter.Mailbox

	err error
}

func (f forgetful) Commit(context.Context, int32, int64, string) error { return f.err }

// counting is a mailbox that counts its commits.
type counting struct {
	deadletter.Mailbox

	commits map[int32]int
}

func (c counting) Commit(ctx context.Context, partition int32, offset int64, note string) error {
	c.commits[partition]++
	return c.Mailbox.Commit(ctx, partition, offset, note)
}

// TestARunRenewsTheProgress, which brokers forget otherwise.
func TestARunRenewsTheProgress(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.die(20, 10)
	p.mustRequeue(20)
	mailbox := counting{p.mailbox, map[int32]int{}}
	p.mustRequeue(0, func(c *deadletter.Config) { c.Mailbox = mailbox })
	require.Equal(t, map[int32]int{0: 1, 1: 1}, mailbox.commits)
	p.mustRequeue(0, func(c *deadletter.Config) { c.Mailbox, c.DryRun = mailbox, true })
	require.Equal(t, map[int32]int{0: 1, 1: 1}, mailbox.commits, "a dry run commits nothing")
	require.Zero(t, p.unsettled())
}

// TestTwoRunsAtOnce: the one that comes second to a batch stops before it sends.
func TestTwoRunsAtOnce(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.die(250, 1)
	other := p.open("")
	var once atomic.Bool
	_, err := p.requeue(func(c *deadletter.Config) {
		c.Tell = func(deadletter.Letter, deadletter.Fate) {
			if once.CompareAndSwap(false, true) {
				p.mustRequeue(150, func(c *deadletter.Config) { c.Mailbox = other })
			}
		}
	})
	require.ErrorIs(t, err, deadletter.ErrBusy)
	p.requireOnce(250)
}

// TestARunDoesNotTakeBackWhatAnotherNoted: renewing the progress of a partition must not be what hides that
// another run was there since this one began.
func TestARunDoesNotTakeBackWhatAnotherNoted(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.die(20, 10)
	p.mustRequeue(20)
	p.die(20, 10)
	other := p.open("")
	var once atomic.Bool
	var meanwhile deadletter.Report
	report, err := p.requeue(func(c *deadletter.Config) {
		c.Tell = func(deadletter.Letter, deadletter.Fate) { // of the first partition's only batch, which is noted
			if once.CompareAndSwap(false, true) {
				var err error
				meanwhile, err = p.requeue(func(c *deadletter.Config) { c.Mailbox = other })
				require.NoError(t, err)
			}
		}
	})
	require.Equal(t, 20, report.Outcomes[deadletter.Requeued]+meanwhile.Outcomes[deadletter.Requeued])
	require.Positive(t, meanwhile.Outcomes[deadletter.Requeued])
	require.ErrorIs(t, err, deadletter.ErrBusy)
	for id, count := range p.arrived(orders) {
		require.Equal(t, 2, count, "each of its two letters once: %s", id)
	}
}

// TestTooManyGaps: more letters are left out than can be noted.
func TestTooManyGaps(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	const n = 4000
	p.die(n, 1, func(i int, record *delivery.Record) {
		with(deadletter.HeaderHandler, strconv.Itoa(i%2))(i, record)
	})
	report, err := p.requeue(func(c *deadletter.Config) { c.Filter.Handler = "1" })
	require.ErrorIs(t, err, deadletter.ErrTooManyGaps)
	done := report.Outcomes[deadletter.Requeued]
	require.Greater(t, done, 800)
	require.Less(t, done, n/2)
	require.Equal(t, n-done, p.unsettled())
	p.mustRequeue(n - done)
	p.requireOnce(n)
}

func TestConfigFaults(t *testing.T) {
	t.Parallel()
	_, err := deadletter.Requeue(t.Context(), deadletter.Config{Limit: -1})
	require.ErrorContains(t, err, "Mailbox is missing")
	require.ErrorContains(t, err, "Limit")
	_, err = deadletter.Requeue(t.Context(), deadletter.Config{Mailbox: forgetful{}})
	require.ErrorContains(t, err, "Sender is missing")
	_, err = deadletter.Discard(t.Context(), deadletter.Config{})
	require.ErrorContains(t, err, "Mailbox is missing")
}

// TestAMissingTopicAndABrokerAway are errors, not empty lists.
func TestAMissingTopicAndABrokerAway(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	missing, err := kafka.NewMailbox(kafka.MailboxConfig{Config: p.config(), Topic: "marty.none"})
	require.NoError(t, err)
	defer missing.Close()
	_, err = missing.Partitions(t.Context())
	require.ErrorContains(t, err, "marty.none")

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	away, err := kafka.NewMailbox(kafka.MailboxConfig{Config: kafka.Config{Brokers: []string{"192.0.2.1:9092"}}, Topic: letterTopic})
	require.NoError(t, err)
	defer away.Close()
	_, err = away.Partitions(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
