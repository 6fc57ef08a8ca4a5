package bench

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

func TestMain(m *testing.M) { bustest.Main(m) }

func TestSpread(t *testing.T) {
	t.Parallel()
	require.Equal(t, Spread{Median: 2, Min: 1, Max: 9, Rounds: []float64{9, 1, 2}}, spreadOf([]float64{9, 1, 2}))
	require.Equal(t, Spread{Median: 3, Min: 2, Max: 4, Rounds: []float64{4, 2}}, spreadOf([]float64{4, 2}))
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for value, want := range map[float64]string{0.812: "0.81", 12.34: "12.3", 304.4: "304", 1000: "1,000", 112345.6: "112,346", 1e7: "10,000,000"} {
		require.Equal(t, want, number(value))
	}
	require.Equal(t, "≥ 0.80×", measure{unit: ratio, target: atLeast(0.8)}.targetOf().String())
	require.Equal(t, "≤ 10.0 ms", measure{unit: "ms", target: atMost(10)}.targetOf().String())
}

func TestTargets(t *testing.T) {
	t.Parallel()
	least, most := atLeast(2), atMost(2)
	require.Equal(t, []bool{true, true, false}, []bool{least.met(3), least.met(2), least.met(1.9)})
	require.Equal(t, []bool{false, true, true}, []bool{most.met(3), most.met(2), most.met(1.9)})
}

func TestEveryMeasureIsNamedOnceAndExplained(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, m := range registry() {
		require.False(t, seen[m.name], m.name)
		seen[m.name] = true
		require.Regexp(t, `^[a-z0-9-]+$`, m.name, "it is a file's name too")
		require.NotEmpty(t, m.question, m.name)
		require.NotEmpty(t, m.unit, m.name)
		require.NotZero(t, m.target, m.name)
		require.Equal(t, m.unit == ratio, m.baseline != "", "%s: a ratio is of something", m.name)
		require.Equal(t, m.unit != ratio, m.score != "", "%s: what else is the score", m.name)
		require.Equal(t, m.round == nil, m.stage != nil, m.name)
		require.NotZero(t, m.takes, m.name)
	}
}

// example is a report with a measure of each kind.
func example() Report {
	vast := measure{name: "vast", question: `"fast" & <slow>`, baseline: "theirs", unit: ratio, target: atLeast(250)}
	late := measure{name: "late", question: "how late", unit: "ms", score: "p99", target: atMost(1)}
	half := measure{name: "half", question: "how late, twice", unit: "ms", score: "p99", target: atMost(3), limits: []limit{{"p50", "ms", atMost(1)}}}
	return Report{Measures: []Result{
		vast.result([]outcome{
			{score: 300, figures: []figure{{tailraceName, eventsPerSec, 90_000}, {"theirs", eventsPerSec, 300}, {"CPU", "µs/event", 7}}},
			{score: 310, figures: []figure{{tailraceName, eventsPerSec, 93_000}, {"theirs", eventsPerSec, 300}, {"CPU", "µs/event", 9}}},
		}),
		late.result([]outcome{{score: 3, figures: []figure{{"p50", "ms", 2}, {"events", "events/s", 3}}}}),
		half.result([]outcome{{score: 3, figures: []figure{{"p50", "ms", 2}}}}),
		measure{name: "far", question: "how far", baseline: "theirs", unit: ratio, target: atLeast(2)}.skipped("it is too far"),
	}}
}

func TestTable(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, example().WriteTable(&out))
	_, table, found := bytes.Cut(out.Bytes(), []byte("0 rounds\n"))
	require.True(t, found)
	require.Equal(t, `                                median        min – max     target

vast: "fast" & <slow>
  Tailrace             91,500 events/s  90,000 – 93,000
  theirs                  300 events/s        300 – 300
  CPU                    8.00 µs/event      7.00 – 9.00
  = Tailrace / theirs             305×        300 – 310     ≥ 250×  met

late: how late
  p50                          2.00 ms
  events                 3.00 events/s
  = p99                        3.00 ms                   ≤ 1.00 ms  MISSED

half: how late, twice
  p50                          2.00 ms                   ≤ 1.00 ms  MISSED
  = p99                        3.00 ms                   ≤ 3.00 ms  met

far: how far
  skipped: it is too far
`, string(table))
	require.Equal(t, []string{"late", "half"}, example().Missed())
}

// TestSVG: well-formed whatever a question says, a bar for each figure of the first one's kind, and the
// shortest can be seen beside one that is hundreds of times as long.
func TestSVG(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, example().WriteSVG(&out))
	var widths []string
	for decoder := xml.NewDecoder(&out); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		element, ok := token.(xml.StartElement)
		if !ok || element.Name.Local != "rect" {
			continue
		}
		for _, attribute := range element.Attr {
			if attribute.Name.Local == "width" {
				widths = append(widths, attribute.Value)
			}
		}
	}
	require.Equal(t, []string{"479", "77", "480", "320", "480", "320"}, widths)
}

// TestRooms shares one broker, since Apache Kafka takes its time to start.
func TestRooms(t *testing.T) {
	t.Parallel()
	_, dsn := bustest.Postgres(t)
	cluster := kafka.Config{Brokers: bustest.Kafka(t).Brokers()}
	config, _, err := Config{DatabaseURL: dsn, Kafka: &cluster}.complete()
	require.NoError(t, err)
	b := &bench{Config: config, servers: newServers(config)}
	require.NoError(t, b.servers.start(t.Context()))
	for name, test := range map[string]func(*testing.T, *bench, *room){
		"a figure is of all events":      aFigureIsOfAllEvents,
		"the loop ends with a fault":     theLoopEndsWithAFault,
		"transactions are counted":       transactionsAreCounted,
		"a burst is settled":             aBurstIsSettled,
		"dead rows are counted":          deadRowsAreCounted,
		"a backlog is spread":            aBacklogIsSpread,
		"what is left goes with the end": func(*testing.T, *bench, *room) {},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := b.room(t.Context(), 0)
			require.NoError(t, err)
			test(t, b, r)
		})
	}
	require.NoError(t, b.servers.stop())
	require.Empty(t, b.servers.rooms)
}

// aFigureIsOfAllEvents: a run that lost one, or left one, is an error and no figure.
func aFigureIsOfAllEvents(t *testing.T, b *bench, r *room) {
	t.Helper()
	require.NoError(t, r.fill(t.Context(), 10))
	require.ErrorContains(t, r.whole(t.Context(), 10), "of 10 events 0 are in Kafka and 10 are still pending")
	_, err := b.forward(t.Context(), r, 11, nil)
	require.ErrorContains(t, err, "of 11 events 10 are in Kafka and 0 are still pending")
}

// theLoopEndsWithAFault of the broker, instead of waiting for what never comes.
func theLoopEndsWithAFault(t *testing.T, _ *bench, r *room) {
	t.Helper()
	require.NoError(t, r.deleteTopics(t.Context()))
	_, err := r.loop(t.Context(), 10, settleByUpdate)
	require.ErrorContains(t, err, "bare loop")
}

// aBurstIsSettled when it is timed, and a close finds what is missing.
func aBurstIsSettled(t *testing.T, b *bench, r *room) {
	t.Helper()
	require.NoError(t, r.fill(t.Context(), 10))
	w, err := b.start(t.Context(), r)
	require.NoError(t, err)
	require.NoError(t, w.own(t.Context()))
	used, err := w.burst(t.Context(), 20, nil)
	require.NoError(t, err)
	require.Positive(t, used.wall)
	pending, err := r.pending(t.Context())
	require.NoError(t, err)
	require.Zero(t, pending)
	arrived, err := r.arrived()
	require.NoError(t, err)
	require.EqualValues(t, 30, arrived)
	w.written++
	require.ErrorContains(t, w.close(t.Context()), "of 31 events 30 are in Kafka and 0 are still pending")
}

// deadRowsAreCounted: without a snapshot there are none, and no figure.
func deadRowsAreCounted(t *testing.T, _ *bench, r *room) {
	t.Helper()
	require.NoError(t, r.add(t.Context(), r.db, 50))
	_, err := r.settleUnder(t.Context())
	require.ErrorContains(t, err, "of 50 settled rows only 0 are dead")

	require.NoError(t, r.add(t.Context(), r.db, 50))
	snapshot, err := r.snapshot(t.Context())
	require.NoError(t, err)
	dead, err := r.settleUnder(t.Context())
	require.NoError(t, err)
	require.GreaterOrEqual(t, dead, 50)
	require.NoError(t, snapshot.Rollback())
}

// aBacklogIsSpread over all topics and keys, for ours and for the loop, and what is missing in one of them shows.
func aBacklogIsSpread(t *testing.T, b *bench, r *room) {
	t.Helper()
	const n = 60
	require.NoError(t, r.spread(t.Context(), 3))
	r.keys = n
	_, err := r.loop(t.Context(), n, settleByUpdate)
	require.NoError(t, err)
	require.NoError(t, r.fill(t.Context(), n))
	_, err = b.forward(t.Context(), r, 2*n, nil)
	require.NoError(t, err)
	var topics, keys int
	require.NoError(t, r.db.QueryRowContext(t.Context(), `SELECT count(DISTINCT topic), count(DISTINCT key) FROM event_outbox`).Scan(&topics, &keys))
	require.Equal(t, []int{3, n}, []int{topics, keys})
	r.topics = r.topics[:2]
	require.ErrorContains(t, r.whole(t.Context(), 2*n), "of 120 events")
	r.topics = r.topics[:3]
}

// transactionsAreCounted: those of others, and not those of who counts.
func transactionsAreCounted(t *testing.T, _ *bench, r *room) {
	t.Helper()
	counter, err := r.countTransactions(t.Context())
	require.NoError(t, err)
	before, err := counter.now(t.Context())
	require.NoError(t, err)
	const want = 1000
	for range want {
		_, err := r.db.ExecContext(t.Context(), `SELECT 1`)
		require.NoError(t, err)
	}
	require.NoError(t, r.db.Close()) // its sessions tell of theirs
	asked := int64(0)
	require.Eventually(t, func() bool {
		asked++
		after, err := counter.now(t.Context())
		return err == nil && after-before >= want
	}, time.Minute, 10*time.Millisecond)
	after, err := counter.now(t.Context())
	require.NoError(t, err)
	require.Less(t, after-before, int64(want+100), "asked %d times", asked)
	require.NoError(t, counter.close())
}

// TestAReceiverCounts: what came twice, or not at all, is no measurement.
func TestAReceiverCounts(t *testing.T) {
	t.Parallel()
	now := time.Now()
	r := &receiver{came: map[string]time.Time{}}
	r.note("a", now)
	r.note("b", now.Add(time.Second))
	came, err := r.take(t.Context(), 2)
	require.NoError(t, err)
	require.Equal(t, map[string]time.Time{"a": now, "b": now.Add(time.Second)}, came)

	r.note("c", now)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = r.take(ctx, 2)
	require.ErrorContains(t, err, "1 of 2 events came")

	r.note("c", now)
	_, err = r.take(t.Context(), 1)
	require.ErrorContains(t, err, "of 1 events 1 came, and 1 of them twice")
}

func TestPercentiles(t *testing.T) {
	t.Parallel()
	var times []time.Duration
	for i := range 1000 {
		times = append(times, time.Duration(i+1)*time.Millisecond)
	}
	require.InDelta(t, 501, percentile(times, 50), 0)
	require.InDelta(t, 991, percentile(times, 99), 0)
	require.InDelta(t, 1000, percentile(times, 99.9), 0)
	require.InDelta(t, 1000, percentile(times, 100), 0)
}

// TestUsage: what is asked of the operating system grows with use.
func TestUsage(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		return
	}
	before, err := usageOf(os.Getpid())
	require.NoError(t, err)
	require.Greater(t, before.resident, int64(1<<20))
	require.GreaterOrEqual(t, before.peak, before.resident)
	used, err := timed(func() error {
		for start := cpuTime(); cpuTime() < start+10*time.Millisecond; {
			continue
		}
		return nil
	})
	require.NoError(t, err)
	require.GreaterOrEqual(t, used.cpu, 10*time.Millisecond)
	after, err := usageOf(os.Getpid())
	require.NoError(t, err)
	require.GreaterOrEqual(t, after.cpu, before.cpu)
	require.Positive(t, used.per(2))
}
