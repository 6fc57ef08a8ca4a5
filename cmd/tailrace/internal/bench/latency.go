package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tailrace-go/tailrace/envelopes"
)

// latencyMeasures take the time from a commit, when it has returned, to a consumer's having the event, with
// `tailrace forward` in a process of its own.
var latencyMeasures = []measure{
	{
		name: "latency", question: "from commit to a consumer, at 200 events/s", score: p99,
		unit: millis, target: atMost(10), limits: []limit{{p50, millis, atMost(5)}}, takes: 40 * time.Second,
		stage: latencyStage(time.Second / 200),
	},
	{
		name: "latency-load", question: "from commit to a consumer, while 4 writers commit one event after the other", score: p99,
		unit: millis, target: atMost(15), limits: []limit{{keptUp, percent, atLeast(99)}}, takes: 40 * time.Second,
		stage: latencyStage(0),
	},
}

const (
	p50    = "p50"
	p99    = "p99"
	keptUp = "received when the last is committed"
)

const (
	latencyFor      = 10 * time.Second
	latencyForQuick = 500 * time.Millisecond
	latencyWriters  = 4
)

// stream is events that go through ours, from writers to a consumer.
type stream struct {
	*process

	receiver *receiver
	// every is the mean time between two events, 0 for as many as the writers can commit.
	every time.Duration
}

func latencyStage(every time.Duration) func(context.Context, *bench) (*stage, error) {
	return func(ctx context.Context, b *bench) (_ *stage, err error) {
		r, err := b.room(ctx, 0)
		if err != nil {
			return nil, err
		}
		s := &stream{every: every}
		end := func() error {
			var faults []error
			if s.receiver != nil {
				faults = append(faults, s.receiver.close())
			}
			if s.process != nil {
				faults = append(faults, s.close())
			}
			return errors.Join(append(faults, r.close())...)
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, end())
			}
		}()
		if s.process, err = b.process(ctx, r); err != nil {
			return nil, err
		}
		if s.receiver, err = r.receive(); err != nil {
			return nil, err
		}
		period := latencyFor
		if b.Quick {
			period = latencyForQuick
		}
		if _, err := s.flow(ctx, period/5); err != nil { // connections and caches are made
			return nil, err
		}
		return &stage{
			round: func(ctx context.Context) (outcome, error) { return s.flow(ctx, period) },
			close: func() error { return errors.Join(s.until(ctx, s.done), r.whole(ctx, r.written), end()) },
		}, nil
	}
}

// flow has events flow for a period, and waits until all have come.
func (s *stream) flow(ctx context.Context, period time.Duration) (outcome, error) {
	start := time.Now()
	committed, err := s.write(ctx, start.Add(period))
	if err != nil {
		return outcome{}, err
	}
	took := time.Since(start)
	early := s.receiver.count()
	s.written += len(committed)
	came, err := s.receiver.take(ctx, len(committed))
	if err != nil {
		return outcome{}, err
	}
	times := make([]time.Duration, 0, len(committed))
	for id, at := range committed {
		arrival, found := came[id]
		if !found {
			return outcome{}, fmt.Errorf("event %s came as another: this is no measurement", id)
		}
		times = append(times, max(0, arrival.Sub(at))) // a commit returns a little after its rows can be seen
	}
	slices.Sort(times)
	return outcome{score: percentile(times, 99), figures: []figure{
		{p50, millis, percentile(times, 50)},
		{"p99.9", millis, percentile(times, 99.9)},
		{"committed", eventsPerSec, float64(len(committed)) / took.Seconds()},
		{keptUp, percent, 100 * float64(early) / float64(len(committed))},
	}}, nil
}

// percentile is that of sorted times, in milliseconds.
func percentile(sorted []time.Duration, percent float64) float64 {
	at := min(len(sorted)-1, int(float64(len(sorted))*percent/100))
	return float64(sorted[at].Microseconds()) / 1000
}

// write has the writers commit events, each in a transaction, and returns when each commit returned, by the
// event's id.
func (s *stream) write(ctx context.Context, end time.Time) (map[string]time.Time, error) {
	due := make(chan struct{}, 1<<16) // a slow commit does not hold up the others
	work, ctx := errgroup.WithContext(ctx)
	if s.every > 0 {
		work.Go(func() error {
			defer close(due)
			for next := time.Now(); next.Before(end); next = next.Add(time.Duration(rand.ExpFloat64() * float64(s.every))) {
				if err := wait(ctx, time.Until(next)); err != nil {
					return err
				}
				due <- struct{}{}
			}
			return nil
		})
	}
	var committed [latencyWriters]map[string]time.Time
	for writer := range committed {
		committed[writer] = map[string]time.Time{}
		work.Go(func() error {
			for s.next(due, end) {
				id := envelopes.NewID()
				if err := s.commit(ctx, id); err != nil {
					return err
				}
				committed[writer][id] = time.Now()
			}
			return nil
		})
	}
	if err := work.Wait(); err != nil {
		return nil, err
	}
	all := map[string]time.Time{}
	for _, some := range committed {
		maps.Copy(all, some)
	}
	return all, nil
}

// next waits until a writer's next event is due and reports whether there is one.
func (s *stream) next(due <-chan struct{}, end time.Time) bool {
	if s.every == 0 {
		return time.Now().Before(end)
	}
	_, more := <-due
	return more
}

// commit writes a row as the bus does, encoded beforehand.
func (s *stream) commit(ctx context.Context, id string) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("%w", err)
	}
	defer func() { _ = tx.Rollback() }()
	if err := s.insert(ctx, tx, id); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("%w", err)
	}
	return nil
}

// eventHeaders are the headers column of an event.
const eventHeaders = `{"ce_id":"$id","ce_source":"/user-service","ce_specversion":"1.0","ce_subject":"$key","ce_time":"2026-01-01T00:00:00.000000Z","ce_type":"user_created","content-type":"application/json","correlation_id":"$id"}`

func (s *stream) insert(ctx context.Context, tx *sql.Tx, id string) error {
	n := rand.IntN(eventKeys)
	key := fmt.Sprintf("user-%d", n)
	headers := strings.NewReplacer("$id", id, "$key", key).Replace(eventHeaders)
	_, err := tx.ExecContext(ctx, `INSERT INTO event_outbox (event_id, topic, payload, key, headers) VALUES ($1, $2, $3, $4, $5)`,
		id, s.topic, payload(n), []byte(key), headers)
	if err != nil {
		return fmt.Errorf("%w", err)
	}
	return nil
}
