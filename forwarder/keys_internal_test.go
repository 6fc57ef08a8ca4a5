package forwarder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder/internal/mailbox"
)

// bareSession is a session whose rows, verdicts and settlements a test hands over by itself.
type bareSession struct {
	*session

	t    *testing.T
	rows map[int64]outbox.Row
}

func newBareSession(t *testing.T) *bareSession {
	config, _ := Config{Logger: slog.New(slog.DiscardHandler)}.withDefaults()
	m, err := newMetrics(nil, "t")
	require.NoError(t, err)
	st := &status{}
	return &bareSession{t: t, rows: map[int64]outbox.Row{}, session: &session{
		config: &config, metrics: m, status: st, log: config.Logger, reader: testReader(newTable()),
		settler: newSettler(obliging{}, &config, m, st), reports: mailbox.New[report](), topics: map[string]*topicState{},
		lone: map[*keyState]struct{}{}, names: headerNames{}, chunks: map[int64]*chunk{}, wanted: map[int64]*keyState{}, suspected: map[int64]struct{}{},
	}}
}

// obliging is a ledger in which every write succeeds.
type obliging struct{}

func (obliging) Settle(context.Context, []int64) error { return nil }
func (obliging) Remove(context.Context, []int64) error { return nil }
func (obliging) Kill(context.Context, int64, string) error {
	return nil
}

func (obliging) Retry(_ context.Context, ids []int64, _ string, _ time.Duration) ([]int64, error) {
	return ids, nil
}

// read hands rows over, n of them to as many topics, every other one without key.
func (s *bareSession) read(n, maxRetries int) {
	first := int64(len(s.rows) + 1)
	rows := make([]outbox.Row, n)
	for i := range rows {
		id := first + int64(i)
		rows[i] = outbox.Row{ID: id, Pending: true, EventID: fmt.Sprint(id), Topic: fmt.Sprintf("tenant-%d", id), MaxRetries: maxRetries}
		if i%2 == 0 {
			rows[i].Key = []byte("key")
		}
		s.rows[id] = rows[i]
	}
	s.found(found{rows: rows, read: time.Now(), last: first + int64(n) - 1})
}

// answer gives all that was sent the verdict, and has the table written.
func (s *bareSession) answer(fault delivery.Fault, err error) (answered int) {
	records := s.out
	s.out = nil
	for _, record := range records {
		if fault != delivery.Delivered {
			record.Fence.Close()
		}
		s.reports.Put(report{[]*delivery.Record{record}, delivery.Verdict{Fault: fault, Err: err}})
	}
	require.NoError(s.t, s.judge())
	for _, job := range s.settler.jobs.Take() {
		if job.write == nil {
			s.settler.done.Put(job.settlement)
			continue
		}
		then, err := job.write(s.t.Context())
		require.NoError(s.t, err)
		s.settler.done.Put(settlement{counted: then})
	}
	s.settled()
	return len(records)
}

// wait lets the time pass after which whatever waits is tried again, and reads its rows again.
func (s *bareSession) wait() {
	s.ring(time.Now().Add(time.Minute))
	for s.pump(); len(s.wanted) > 0; s.pump() {
		asked := s.reader.nextAsked()
		rows := make([]outbox.Row, len(asked))
		for i, id := range asked {
			rows[i] = s.rows[id]
		}
		s.found(found{asked: asked, rows: rows, read: time.Now(), last: s.last})
	}
}

// TestTopicsAreForgotten: of thousands of topics, each used once, nothing is left but what still waits.
func TestTopicsAreForgotten(t *testing.T) {
	t.Parallel()
	const n = 2000
	guilty := errors.New("too large")
	for what, fate := range map[string]struct {
		maxRetries int
		// first is the verdict that keeps them, until the rest let them go.
		first delivery.Fault
		err   error
		// counted rows wait for their next attempt, copied ones are dead.
		copied bool
	}{
		"refused once":       {maxRetries: 2, first: delivery.Refused, err: guilty},
		"dead":               {maxRetries: 1, first: delivery.Refused, err: guilty, copied: true},
		"no topic for while": {maxRetries: 2, first: delivery.Topic, err: guilty},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := newBareSession(t)
			for range 3 {
				s.read(n, fate.maxRetries)
				s.publishState()
				require.Len(t, s.topics, n, "on their way")
				require.Equal(t, n, s.answer(delivery.Delivered, nil))
				s.publishState()
				require.Empty(t, s.topics)
				require.Empty(t, s.chunks)
			}
			s.read(n, fate.maxRetries)
			require.Equal(t, n, s.answer(fate.first, fate.err))
			s.publishState()
			require.Len(t, s.topics, n, "waiting")
			if !fate.copied {
				require.Empty(t, s.out)
				s.wait()
			}
			s.publishState()
			require.Len(t, s.topics, n, "on their way again")
			require.Equal(t, n, s.answer(delivery.Delivered, nil))
			s.publishState()
			require.Empty(t, s.topics)
			require.Empty(t, s.lone)
			require.Empty(t, s.chunks)
			require.Zero(t, s.flying)
		})
	}
}
