package main_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// report is the part of the JSON that these tests look at.
type report struct {
	Machine  map[string]any
	Postgres struct {
		Version  string
		Embedded bool
		Settings map[string]string
	}
	Kafka struct {
		Version  string
		Embedded bool
	}
	Settings map[string]any
	Measures []struct {
		Name, Skipped string
		Met           bool
		Score         *struct {
			Unit, Name       string
			Median, Min, Max float64
			Rounds           []float64
		}
		Target struct {
			Value float64
			Unit  string
		}
		Figures []figureReport
	}
}

type figureReport struct {
	Name, Unit string
	Median     float64
}

// withProcess are the measures of a process of its own, of which there is no profile.
var withProcess = []string{"latency", "latency-load", "idle", "memory"}

// states are figures, and what they are at least, that tell of the states in which 300 events are measured.
var states = map[string]map[string]float64{
	"backlog-million":  {"Tailrace, 7,500 pending": 1, "Tailrace, 300 pending": 1},
	"old-snapshot":     {"rows dead behind it": 3750},
	"topics":           {"Tailrace, 10 topics": 1, "Tailrace, one topic": 1},
	"keys":             {"Tailrace, 300 keys": 1, "Tailrace, 1,000 keys": 1},
	"gaps":             {"Tailrace, 750 gaps": 1, "the second writer's rows": 1},
	"gaps-rolled-back": {"Tailrace, 750 gaps": 1, "Tailrace, after the gaps": 1},
	"kept-rows":        {"Tailrace, 75,000 kept": 1},
	"retention":        {"Tailrace, kept in partitions": 1},
	"latency":          {"committed": 1, "received when the last is committed": 1},
	"latency-load":     {"committed": 1, "received when the last is committed": 1},
	"idle":             {"memory in RAM": 1},
	"memory":           {"memory in RAM at the end": 1, "Tailrace, 7,500 pending": 1},
}

// schemas are those that bench made and left.
func (b *bundle) schemas() (n int) {
	b.t.Helper()
	require.NoError(b.t, b.db.QueryRowContext(b.t.Context(), `SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'tailrace_bench_%'`).Scan(&n))
	return n
}

// requireClean: nothing that bench made is left, and what was there is as it was.
func (b *bundle) requireClean(rows int) {
	b.t.Helper()
	require.Zero(b.t, b.schemas())
	require.Equal(b.t, rows, b.pending(), "the user's outbox is not touched")
	// Apache Kafka deletes a little later than it says.
	require.Eventually(b.t, func() bool { return len(b.benchTopics()) == 0 }, patience, 10*tick, "a topic is left")
}

// benchTopics are those that bench made and left, asked by a client of its own: one that asked before believes its answer.
func (b *bundle) benchTopics() []string {
	b.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.broker.Brokers()...))
	require.NoError(b.t, err)
	defer client.Close()
	topics, err := kadm.NewClient(client).ListTopics(b.t.Context())
	require.NoError(b.t, err)
	require.True(b.t, topics.Has(topic))
	return slices.DeleteFunc(topics.Names(), func(name string) bool { return !strings.HasPrefix(name, "tailrace.bench.") })
}

func (b *bundle) userRow() {
	b.t.Helper()
	_, err := b.db.ExecContext(b.t.Context(), `INSERT INTO event_outbox (event_id, topic, payload) VALUES ('mine', $1, '')`, topic)
	require.NoError(b.t, err)
}

// TestBench takes every measure with the embedded broker, and some with a cluster of the user's.
func TestBench(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.userRow()
	_, list := run(t, nil, "bench", "--list")
	for name, test := range map[string]struct {
		env, args        []string
		rounds, measures int
		skips            bool
	}{
		"embedded broker": {rounds: 1, measures: strings.Count(list, "\n")},
		"user's cluster": {
			env:    []string{"KAFKA_BROKERS=" + strings.Join(b.broker.Brokers(), ",")},
			args:   []string{"--repeat", "2", "--only", "loop,backlog-2ms,memory", "--batch-size", "50", "--window", "100", "--compression", "lz4", "--topic-partitions", "3"},
			rounds: 2, measures: 3, skips: true,
		},
	} {
		dir := t.TempDir()
		p := start(t, append(test.env, "DATABASE_URL="+b.dsn), append([]string{
			"bench", "--quick", "--events", "300",
			"--json", filepath.Join(dir, "r.json"), "--plot", filepath.Join(dir, "r.svg"), "--cpuprofile", filepath.Join(dir, "profiles"),
		}, test.args...)...)
		code, output := p.waitFor(5*patience), p.log.String()
		require.Zero(t, code, output)

		text, err := os.ReadFile(filepath.Join(dir, "r.json"))
		require.NoError(t, err)
		var r report
		require.NoError(t, json.Unmarshal(text, &r))
		require.NotEmpty(t, r.Machine["cpu"])
		require.NotEmpty(t, r.Postgres.Settings["fsync"])
		require.False(t, r.Postgres.Embedded)
		require.Equal(t, test.env == nil, r.Kafka.Embedded, name)
		require.Len(t, r.Measures, test.measures)
		if test.skips {
			require.Subset(t, r.Settings, map[string]any{"batch_size": 50.0, "window": 100.0, "compression": "lz4", "partitions": 3.0})
		}
		for _, m := range r.Measures {
			require.Contains(t, list, m.Name)
			require.Contains(t, output, m.Name)
			if test.skips && m.Name == "backlog-2ms" {
				require.Nil(t, m.Score)
				require.Contains(t, m.Skipped, "leave KAFKA_BROKERS out")
				continue
			}
			require.NotNil(t, m.Score, m.Name)
			if m.Name != "memory" { // one round is enough
				require.Len(t, m.Score.Rounds, test.rounds)
			}
			require.GreaterOrEqual(t, m.Score.Min, 0.0, m.Name)
			if m.Name != "idle" { // the operating system counts in hundredths of a second
				require.Positive(t, m.Score.Min, m.Name)
			}
			require.LessOrEqual(t, m.Score.Min, m.Score.Median)
			require.LessOrEqual(t, m.Score.Median, m.Score.Max)
			require.NotEmpty(t, m.Figures)
			profiles, err := filepath.Glob(filepath.Join(dir, "profiles", m.Name+".*.pprof"))
			require.NoError(t, err)
			require.Equal(t, !slices.Contains(withProcess, m.Name), len(profiles) > 0, "a profile of %s", m.Name)
			for figure, least := range states[m.Name] {
				i := slices.IndexFunc(m.Figures, func(f figureReport) bool { return f.Name == figure })
				require.GreaterOrEqual(t, i, 0, "%s: %s", m.Name, figure)
				require.GreaterOrEqual(t, m.Figures[i].Median, least, "%s: %s", m.Name, figure)
			}
		}
		requireXML(t, filepath.Join(dir, "r.svg"))
		b.requireClean(1)
	}
}

func requireXML(t testing.TB, name string) {
	t.Helper()
	file, err := os.Open(name)
	require.NoError(t, err)
	defer file.Close()
	bars := 0
	for decoder := xml.NewDecoder(file); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			require.Positive(t, bars)
			return
		}
		require.NoError(t, err)
		if element, ok := token.(xml.StartElement); ok && element.Name.Local == "rect" {
			bars++
		}
	}
}

// TestBenchOnNothing: the servers are started and, with the exit code of a check, stopped.
func TestBenchOnNothing(t *testing.T) {
	t.Parallel()
	code, output := run(t, nil, "bench", "--quick", "--events", "100", "--only", "backlog-2ms", "--check")
	// A hundred events cannot pay for the forwarder's start.
	require.Equal(t, 1, code, output)
	require.Contains(t, output, "missed the target of backlog-2ms")
	require.Contains(t, output, "(embedded)")

	code, output = run(t, nil, "bench", "--quick", "--events", "100", "--only", "backlog", "--json", "-")
	require.Zero(t, code, output)
	require.Contains(t, output, `"name": "backlog"`)
	require.NotContains(t, output, "median  ", "no table between the lines")
}

// TestBenchInterrupted: Ctrl-C in the middle removes what was made.
func TestBenchInterrupted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.userRow()
	p := start(t, []string{"DATABASE_URL=" + b.dsn, "KAFKA_BROKERS=" + strings.Join(b.broker.Brokers(), ",")}, "bench", "--events", "200000", "--only", "loop")
	require.Eventually(t, func() bool { return b.schemas() > 0 && len(b.benchTopics()) > 0 }, patience, 10*tick, "nothing is made")
	p.signal(syscall.SIGINT)

	require.Equal(t, 1, p.wait())
	require.Contains(t, p.log.String(), "interrupted")
	b.requireClean(1)
}

func TestBenchToldWrong(t *testing.T) {
	t.Parallel()
	code, output := run(t, nil, "bench", "--only", "backlog, speed", "--events", "-1")
	require.Equal(t, 2, code, output)
	require.Contains(t, output, "no such measure: speed (see --list)")
	require.Contains(t, output, "--events")
	code, output = run(t, []string{"DATABASE_URL=postgres://u:s3cr3t@127.0.0.1:1/none"}, "bench")
	require.Equal(t, 1, code, output)
	require.NotContains(t, output, "s3cr3t")
}

// TestThePerformancePageHasEveryMeasure, and a plot that can be shown.
func TestThePerformancePageHasEveryMeasure(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "performance.md"))
	require.NoError(t, err)
	_, list := run(t, nil, "bench", "--list")
	for line := range strings.Lines(list) {
		name, _, _ := strings.Cut(line, " ")
		require.Contains(t, string(page), "`"+name+"`", "what is compared")
		require.Contains(t, string(page), "\n"+name+": ", "the table of a run")
	}
	requireXML(t, filepath.Join("..", "..", "docs", "performance.svg"))
}
