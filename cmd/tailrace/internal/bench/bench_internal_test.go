package bench

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
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
	require.Equal(t, "≤ 10.0 ms", measure{unit: "ms", target: target{value: 10, atMost: true}}.targetOf().String())
}

func TestTargets(t *testing.T) {
	t.Parallel()
	least, most := atLeast(2), target{value: 2, atMost: true}
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
	}
}

// example is a report with a measure of each kind.
func example() Report {
	vast := measure{name: "vast", question: `"fast" & <slow>`, baseline: "theirs", unit: ratio, target: atLeast(250)}
	late := measure{name: "late", question: "how late", unit: "ms", target: target{value: 1, atMost: true}}
	return Report{Measures: []Result{
		vast.result([]outcome{
			{score: 300, figures: []figure{{tailraceName, eventsPerSec, 90_000}, {"theirs", eventsPerSec, 300}, {"CPU", "µs/event", 7}}},
			{score: 310, figures: []figure{{tailraceName, eventsPerSec, 93_000}, {"theirs", eventsPerSec, 300}, {"CPU", "µs/event", 9}}},
		}),
		late.result([]outcome{{score: 3, figures: []figure{{"p50", "ms", 2}, {"p99", "ms", 3}}}}),
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
  p99                          3.00 ms
  = score                      3.00 ms                   ≤ 1.00 ms  MISSED

far: how far
  skipped: it is too far
`, string(table))
	require.Equal(t, []string{"late"}, example().Missed())
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
	require.Equal(t, []string{"479", "77", "320", "480"}, widths)
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
	_, err := b.forward(t.Context(), r, 11)
	require.ErrorContains(t, err, "of 11 events 10 are in Kafka and 0 are still pending")
}

// theLoopEndsWithAFault of the broker, instead of waiting for what never comes.
func theLoopEndsWithAFault(t *testing.T, _ *bench, r *room) {
	t.Helper()
	require.NoError(t, r.deleteTopic(t.Context()))
	_, err := r.loop(t.Context(), 10, settleByUpdate)
	require.ErrorContains(t, err, "bare loop")
}

func transactionsAreCounted(t *testing.T, _ *bench, r *room) {
	t.Helper()
	before, err := r.transactions(t.Context())
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		after, err := r.transactions(t.Context())
		return err == nil && after > before
	}, time.Minute, 10*time.Millisecond)
}

// TestUsage: what is asked of the operating system grows with use.
func TestUsage(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		return
	}
	bytes, known := resident()
	require.True(t, known)
	require.Greater(t, bytes, int64(1<<20))
	used, err := timed(func() error {
		for start := cpuTime(); cpuTime() < start+10*time.Millisecond; {
			continue
		}
		return nil
	})
	require.NoError(t, err)
	require.GreaterOrEqual(t, used.cpu, 10*time.Millisecond)
	require.Positive(t, used.per(2))
}
