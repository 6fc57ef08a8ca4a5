package decorators_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/decorators"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/topics"
)

// discard is a publisher that costs nothing.
type discard struct{}

func (discard) Publish(string, ...*message.Message) error { return nil }
func (discard) Close() error                              { return nil }

// discarding decorates over it.
func discarding(t testing.TB) (*bus.Bus, *decorators.Decorator) {
	t.Helper()
	b, err := bus.New(bus.Config{Service: "user-service", Topics: topics.Naming{Prefix: "marty"}, Publisher: discard{}})
	require.NoError(t, err)
	d, err := decorators.New(decorators.Config{Bus: b})
	require.NoError(t, err)
	return b, d
}

type (
	loginArgs struct {
		Args   any `json:"args"`
		Result any `json:"result"`
	}
	verify = func(context.Context, credentials) (bool, error)
)

func verified(context.Context, credentials) (bool, error) { return true, nil }

// cases are, of each kind, the decorated call and the call with the equal event published by hand.
func cases(t testing.TB) map[string][2]verify {
	t.Helper()
	b, d := discarding(t)
	hidden := func(in credentials) credentials {
		in.Password = "[redacted]"
		return in
	}
	args := auditSpec
	args.IncludeArgs, args.IncludeResult = true, true
	both := domainSpec
	both.IncludeResult, both.IncludeFailures = true, true
	quiet := errorSpec
	return map[string][2]verify{
		"audit": {decorators.Must(decorators.Audit(d, args, byUser, verified)), func(ctx context.Context, in credentials) (bool, error) {
			ok, err := verified(ctx, in)
			_, _ = b.PublishAudit(ctx, envelopes.Audit{
				EventType: auditSpec.EventType, Action: auditSpec.Action, ResourceType: auditSpec.ResourceType, ResourceID: in.UserID,
				OperationDetails: loginArgs{hidden(in), ok},
			})
			return ok, err
		}},
		"domain": {decorators.Must(decorators.Domain(d, both, byUser, verified)), func(ctx context.Context, in credentials) (bool, error) {
			ok, err := verified(ctx, in)
			_, _ = b.PublishDomain(ctx, envelopes.Domain{
				AggregateType: domainSpec.AggregateType, AggregateID: in.UserID, EventType: domainSpec.EventType, EventData: loginArgs{hidden(in), ok},
			})
			return ok, err
		}},
		"success": {decorators.Must(decorators.OnSuccess(d, successSpec, byUser, verified)), func(ctx context.Context, in credentials) (bool, error) {
			ok, err := verified(ctx, in)
			_, _ = b.PublishCustom(ctx, envelopes.Custom{
				Topic: successSpec.Topic, Key: in.UserID, EventType: successSpec.EventType, Payload: loginArgs{hidden(in), ok},
			})
			return ok, err
		}},
		"error, when there is none": {decorators.Must(decorators.OnError(d, quiet, nil, verified)), verified},
	}
}

// BenchmarkDecorated compares a decorated call with the call and the equal event published by hand. They
// run in turns, some calls each, and the medians are reported, so that what else the machine does falls on
// both alike.
func BenchmarkDecorated(b *testing.B) {
	const turn = 50
	in := credentials{"u-1", "hunter2"}
	for name, pair := range cases(b) {
		b.Run(name, func(b *testing.B) {
			ctx := bus.WithMetadata(context.Background(), bus.Metadata{CorrelationID: "req-7"})
			var times [2][]time.Duration
			for b.Loop() {
				for i, call := range pair {
					start := time.Now()
					for range turn {
						if _, err := call(ctx, in); err != nil {
							b.Fatal(err)
						}
					}
					times[i] = append(times[i], time.Since(start))
				}
			}
			var median, allocs [2]float64
			for i, call := range pair {
				slices.Sort(times[i])
				median[i] = float64(times[i][len(times[i])/2]) / turn
				allocs[i] = testing.AllocsPerRun(100, func() { _, _ = call(ctx, in) })
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median[0], "decorated-ns/call")
			b.ReportMetric(median[1], "by-hand-ns/call")
			b.ReportMetric(median[0]-median[1], "added-ns/call")
			b.ReportMetric(allocs[0], "decorated-allocs/call")
			b.ReportMetric(allocs[1], "by-hand-allocs/call")
		})
	}
}

func TestDecoratingAllocatesLittle(t *testing.T) {
	in := credentials{"u-1", "hunter2"}
	for name, pair := range cases(t) {
		allocs := func(f verify) float64 {
			return testing.AllocsPerRun(300, func() { _, _ = f(context.Background(), in) })
		}
		// The payload, the event, and a context with a deadline. The race detector makes a
		// sync.Pool forget at random.
		require.LessOrEqual(t, allocs(pair[0]), allocs(pair[1])+14, name)
	}
}
