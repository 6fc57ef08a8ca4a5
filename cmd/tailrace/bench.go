package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/cmd/tailrace/internal/bench"
)

// benchSettings are what `tailrace bench` can be told, besides what bus/connect knows.
type benchSettings struct {
	settings

	only            []string
	list, quick     bool
	check           bool
	events, repeat  int
	json, plot, cpu string

	batch, window, partitions int
	compression               kafka.Compression
}

func benchCommand() *cobra.Command {
	s := &benchSettings{}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure Tailrace on your PostgreSQL and Kafka, or on embedded ones",
		Long: `Measure Tailrace beside what it is compared with: Watermill's own chain, a bare pipelined loop without
guarantees, a bare INSERT. Same rows, same broker, in turn, in one run.

PostgreSQL is the one at DATABASE_URL, else it is started from the binaries of this machine, else they
are downloaded once. Kafka is the cluster at KAFKA_BROKERS, else a broker in a process of its own. It works
in schemas named tailrace_bench_… and topics named tailrace.bench.…, which it makes and removes, also when
it is interrupted; it touches no others. It loads both servers fully while it runs.

The exit code is 0 also when a target was missed, unless --check is given.`,
	}
	s.share(cmd, setting{flag: "database-url", variable: "DATABASE_URL", kind: "url"},
		"a running PostgreSQL to use, by an account that may create schemas. Other users of the machine can see a flag")
	s.shareKafka(cmd)
	own := &s.settings
	define(own, cmd, &s.list, setting{flag: "list", kind: "bool", text: "false"}, "list the measures and take none", parseBool)
	define(own, cmd, &s.only, setting{flag: "only", kind: "name,…"}, "take these measures; without it all, but for those that --list says must be named", parseNames)
	define(own, cmd, &s.events, setting{flag: "events", kind: "count", text: "0"},
		"size of the backlog, by which all sizes are scaled; 0 is 40000, with --quick 2000", parseCount(0, 100_000_000))
	define(own, cmd, &s.repeat, setting{flag: "repeat", kind: "count", text: "0"},
		"rounds of each measure, whose median counts; 0 is 3, with --quick 1", parseCount(0, 1000))
	define(own, cmd, &s.quick, setting{flag: "quick", kind: "bool", text: "false"}, "see in seconds that all works; the figures mean little", parseBool)
	define(own, cmd, &s.json, setting{flag: "json", kind: "file"}, "write the report as JSON too; - is the standard output, in place of the table", parseText)
	define(own, cmd, &s.plot, setting{flag: "plot", kind: "file.svg"}, "draw the report as an SVG too", parseText)
	define(own, cmd, &s.cpu, setting{flag: "cpuprofile", kind: "directory"}, "write a CPU profile of our part of each measure there, for go tool pprof", parseText)
	define(own, cmd, &s.batch, setting{flag: "batch-size", kind: "rows", text: "0"},
		"forward --batch-size, to be measured; 0 is its default", parseCount(0, 1<<16))
	define(own, cmd, &s.window, setting{flag: "window", kind: "rows", text: "0"},
		"forward --window, to be measured; 0 is its default", parseCount(0, 10_000_000))
	define(own, cmd, &s.compression, setting{flag: "compression", kind: "codec", text: "none"},
		"forward --compression, to be measured: none, gzip, snappy, lz4 or zstd",
		oneOf(kafka.NoCompression, kafka.Gzip, kafka.Snappy, kafka.LZ4, kafka.Zstd))
	define(own, cmd, &s.partitions, setting{flag: "topic-partitions", kind: "count", text: "6"},
		"partitions of the topics, of all that is compared", parseCount(1, 10_000))
	define(own, cmd, &s.check, setting{flag: "check", kind: "bool", text: "false"}, "exit with 1 when a target was missed", parseBool)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return s.run(cmd) }
	return cmd
}

func (s *benchSettings) run(cmd *cobra.Command) error {
	environ := environment()
	faults := s.resolve(cmd.Flags(), environ)
	shared, err := s.connect(cmd.Flags(), environ, false)
	if err := badConfiguration(err, faults, bench.Check(s.only)); err != nil {
		return err
	}
	if s.list {
		return listMeasures(cmd.OutOrStdout())
	}
	config := bench.Config{
		DatabaseURL: string(shared.DatabaseURL), Only: s.only, Events: s.events, Repeat: s.repeat, Quick: s.quick,
		ProfileDir: s.cpu, Version: version(), Progress: cmd.ErrOrStderr(),
		Tuning: bench.Tuning{BatchSize: s.batch, Window: s.window, Partitions: int32(s.partitions)}, //nolint:gosec // parseCount bounds it
	}
	if s.compression != kafka.NoCompression {
		config.Tuning.Compression = s.compression
	}
	if config.Forward, err = s.forwarder(cmd.Flags(), environ); err != nil {
		return err
	}
	if cmd.Flags().Changed("kafka-brokers") || environ["KAFKA_BROKERS"] != "" {
		brokers := cluster(shared)
		config.Kafka = &brokers
	}
	report, err := bench.Run(cmd.Context(), config)
	if cmd.Context().Err() != nil {
		err = fmt.Errorf("interrupted before the end: %w", err)
	}
	if len(report.Measures) > 0 {
		err = errors.Join(err, s.tell(cmd.OutOrStdout(), report))
	}
	if missed := report.Missed(); err == nil && s.check && len(missed) > 0 {
		return fmt.Errorf("missed the target of %s", strings.Join(missed, ", "))
	}
	return err
}

// forwarder is this program as a forwarder that reaches the Kafka of the flags and the environment, with its
// defaults otherwise.
func (s *benchSettings) forwarder(flags *pflag.FlagSet, environ map[string]string) (*bench.Program, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	environ, _ = s.over(flags, environ)
	p := &bench.Program{Path: path, Args: []string{"forward"}}
	for name, value := range environ {
		if !otherSettings.MatchString(name) {
			p.Env = append(p.Env, name+"="+value)
		}
	}
	return p, nil
}

// otherSettings are those of a forwarder that does not measure.
var otherSettings = regexp.MustCompile(`^(TAILRACE_|EVENT_|OUTBOX_|OTEL_)`)

// tell writes the report in every form that was asked for.
func (s *benchSettings) tell(stdout io.Writer, report bench.Report) error {
	var faults []error
	if s.json == "-" {
		faults = append(faults, report.WriteJSON(stdout))
	} else {
		faults = append(faults, report.WriteTable(stdout), writeFile(s.json, report.WriteJSON))
	}
	return errors.Join(append(faults, writeFile(s.plot, report.WriteSVG))...)
}

// writeFile writes a file, none without a name.
func writeFile(name string, write func(io.Writer) error) error {
	if name == "" {
		return nil
	}
	file, err := os.Create(name) //nolint:gosec // the user's choice
	if err != nil {
		return err
	}
	return errors.Join(write(file), file.Close())
}

func listMeasures(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, m := range bench.List() {
		when := "about " + m.Takes.String()
		if m.Named {
			when += ", only when it is named"
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", m.Name, m.Question, strings.Join(m.Targets, ", "), when)
	}
	return table.Flush()
}
