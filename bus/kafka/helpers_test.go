package kafka_test

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

func TestMain(m *testing.M) {
	if os.Getenv(brokerProcess) != "" {
		serveBroker()
		return
	}
	// Watermill's own test suite leaves these behind: nobody takes what its multiplied subscriber has left.
	const multiplier = "github.com/ThreeDotsLabs/watermill/internal/subscriber.(*multiplier).Subscribe"
	goleak.VerifyTestMain(m,
		// With TAILRACE_KAFKA=apache the brokers are processes that serve all tests.
		goleak.IgnoreAnyFunction("github.com/tailrace-go/tailrace/internal/embedded/proc.(*Process).run"),
		goleak.IgnoreAnyFunction("github.com/tailrace-go/tailrace/internal/embedded/gate.(*Listener).Proxy"),
		goleak.IgnoreAnyFunction("github.com/tailrace-go/tailrace/internal/embedded/gate.(*Listener).accept"),
		goleak.IgnoreAnyFunction(multiplier+".func2"), goleak.IgnoreAnyFunction(multiplier+".func3"),
		// Each fetch request counts in go-metrics' default registry, whatever registry sarama is given.
		goleak.IgnoreAnyFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

const soon = 30 * time.Second

// sink is the owner of a stream in a test. It notes what it is told.
type sink struct {
	t  testing.TB
	mu sync.Mutex

	verdicts    map[int64]delivery.Verdict // by Ref
	order       []int64                    // Refs as reported
	unreachable []error
	permitted   int
	permit      func() bool
	onReport    func([]*delivery.Record, delivery.Verdict)
}

func newSink(t testing.TB) *sink { return &sink{t: t, verdicts: map[int64]delivery.Verdict{}} }

func (s *sink) config() delivery.StreamConfig {
	return delivery.StreamConfig{
		Permit: func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.permitted++
			return s.permit == nil || s.permit()
		},
		Report: func(records []*delivery.Record, verdict delivery.Verdict) {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, record := range records {
				if earlier, twice := s.verdicts[record.Ref]; twice {
					s.t.Errorf("record %d reported twice: %v, %v", record.Ref, earlier, verdict)
				}
				if verdict.Fault != delivery.Delivered && record.Fence != nil && !record.Fence.Closed() {
					s.t.Errorf("record %d is reported %v before its fence is closed", record.Ref, verdict.Fault)
				}
				s.verdicts[record.Ref] = verdict
				s.order = append(s.order, record.Ref)
			}
			if s.onReport != nil {
				s.onReport(records, verdict)
			}
		},
		Unreachable: func(err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.unreachable = append(s.unreachable, err)
		},
	}
}

// wait waits until so many records were reported.
func (s *sink) wait(n int) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return s.reported() >= n }, soon, time.Millisecond, "waiting for %d verdicts", n)
	require.Equal(s.t, n, s.reported())
}

func (s *sink) reported() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.verdicts)
}

func (s *sink) verdict(ref int64) delivery.Verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.verdicts[ref]
}

// faults counts the verdicts.
func (s *sink) faults() map[delivery.Fault]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := map[delivery.Fault]int{}
	for _, verdict := range s.verdicts {
		counts[verdict.Fault]++
	}
	return counts
}

func (s *sink) notices() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.unreachable)
}

func (s *sink) troubled() bool { return s.troubledSince(0) }

// troubledSince looks at the notices behind the first n only: a broker that has just started may say that
// its coordinator is still loading before it gives the first producer id.
func (s *sink) troubledSince(n int) bool {
	return slices.ContainsFunc(s.notices()[n:], func(err error) bool { return err != nil })
}

// newSender makes a sender with short pauses that ends with the test.
func newSender(t testing.TB, brokers []string, change ...func(*kafka.SenderConfig)) *kafka.Sender {
	t.Helper()
	config := kafka.SenderConfig{
		Config:          kafka.Config{Brokers: brokers, DialTimeout: 2 * time.Second, RequestTimeout: 3 * time.Second},
		RetryBackoff:    time.Millisecond,
		RetryBackoffMax: 50 * time.Millisecond,
		TopicGrace:      200 * time.Millisecond,
	}
	for _, f := range change {
		f(&config)
	}
	sender, err := kafka.NewSender(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sender.Close()) })
	return sender
}

// keyed makes records whose values number them, spread over keys, each key with a fence of its own.
func keyed(topic string, from, n, keys int) []*delivery.Record {
	fences := map[string]*delivery.Fence{}
	records := make([]*delivery.Record, n)
	for i := range records {
		ref := from + i
		key := fmt.Sprintf("key-%d", ref%keys)
		if fences[key] == nil {
			fences[key] = new(delivery.Fence)
		}
		records[i] = &delivery.Record{
			Topic: topic, Key: []byte(key), Value: fmt.Appendf(nil, "%08d", ref), Ref: int64(ref), Fence: fences[key],
			Headers: []delivery.Header{{Key: "n", Value: fmt.Append(nil, ref)}},
		}
	}
	return records
}

// requireSequence requires the records 0 to n-1, each once, in order within each key, each in its key's
// partition.
func requireSequence(t testing.TB, records []bustest.Record, n int, partitions int32) {
	t.Helper()
	require.Zero(t, requireOrder(t, records, n, partitions), "duplicates")
}

// requireOrder requires the records 0 to n-1, the first copies in order within each key, each in its key's
// partition, and returns how many came more than once.
func requireOrder(t testing.TB, records []bustest.Record, n int, partitions int32) (duplicates int) {
	t.Helper()
	last := map[string]string{}
	seen := map[string]bool{}
	var disorder int
	for _, record := range records {
		value, key := string(record.Value), string(record.Key)
		require.Equal(t, kafka.PartitionFor(record.Key, partitions), record.Partition)
		if seen[value] {
			duplicates++
			continue
		}
		if value <= last[key] {
			disorder++
		}
		seen[value], last[key] = true, value
	}
	require.Zero(t, disorder, "out of order")
	require.Len(t, seen, n, "lost")
	return duplicates
}
