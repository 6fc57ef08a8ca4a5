package bench

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"
)

// describe notes what the measures are taken on and with.
func (b *bench) describe(ctx context.Context, r *Report) (err error) {
	r.Version = b.Version
	r.Machine = thisMachine()
	r.Settings = Settings{
		Events: b.Events, Bytes: eventBytes, Keys: eventKeys, Partitions: b.Tuning.Partitions, Acks: "all", Repeat: b.Repeat, Quick: b.Quick,
		BatchSize: b.Tuning.BatchSize, Window: b.Tuning.Window, Compression: string(b.Tuning.Compression),
	}
	if r.Postgres, err = b.servers.describePostgres(ctx); err != nil {
		return err
	}
	r.Kafka, err = b.servers.describeKafka(ctx)
	return err
}

func thisMachine() Machine {
	return Machine{
		OS:     strings.TrimSpace(runtime.GOOS + "/" + runtime.GOARCH + " " + firstLine("/proc/sys/kernel/osrelease", "")),
		CPU:    orUnknown(firstLine("/proc/cpuinfo", "model name")),
		Cores:  runtime.NumCPU(),
		Memory: orUnknown(memory(firstLine("/proc/meminfo", "MemTotal"))),
		Go:     runtime.Version(),

		Autogroup: firstLine("/proc/sys/kernel/sched_autogroup_enabled", "") == "1",
	}
}

// firstLine is what a line of a file of Linux's says that begins with the name, "" elsewhere.
func firstLine(file, name string) string {
	text, err := os.ReadFile(file) //nolint:gosec // the names above
	if err != nil {
		return ""
	}
	return lineOf(string(text), name)
}

// lineOf is what the first line of a text says that begins with the name.
func lineOf(text, name string) string {
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, name); found {
			return strings.TrimSpace(strings.TrimLeft(value, " \t:"))
		}
	}
	return ""
}

// memory writes Linux's kibibytes in gibibytes.
func memory(kibibytes string) string {
	n, err := strconv.ParseFloat(strings.TrimSuffix(kibibytes, " kB"), 64)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%.0f GiB", n/(1<<20))
}

func orUnknown(text string) string {
	if text == "" {
		return "unknown"
	}
	return text
}

// pgSettings are those that decide about the figures.
var pgSettings = []string{"fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size", "wal_level", "synchronous_standby_names"}

func (s *servers) describePostgres(ctx context.Context) (Server, error) {
	server := Server{Version: s.postgres.Version(), Embedded: !s.postgres.External(), Settings: map[string]string{}}
	for _, name := range pgSettings {
		var value string
		if err := s.admin.QueryRowContext(ctx, `SELECT current_setting($1)`, name).Scan(&value); err != nil {
			return server, fmt.Errorf("ask the database's %s: %w", name, err)
		}
		if value != "" {
			server.Settings[name] = value
		}
	}
	return server, nil
}

func (s *servers) describeKafka(ctx context.Context) (Server, error) {
	cluster, err := s.cluster(ctx, 0)
	if err != nil {
		return Server{}, err
	}
	if s.config.Kafka == nil {
		return Server{Version: "kfake " + moduleVersion("github.com/twmb/franz-go/pkg/kfake") + " in a process of its own", Embedded: true}, nil
	}
	config, err := cluster.Sarama()
	if err != nil {
		return Server{}, err
	}
	client, err := sarama.NewClient(cluster.Brokers, config)
	if err != nil {
		return Server{}, fmt.Errorf("reach Kafka: %w", err)
	}
	defer func() { _ = client.Close() }()
	server := Server{Version: "a cluster that ran already", Settings: map[string]string{"brokers": strconv.Itoa(len(client.Brokers()))}}
	if took, err := roundTrip(ctx, cluster.Brokers[0]); err == nil {
		server.Settings["connect"] = took.Round(10 * time.Microsecond).String()
	}
	return server, nil
}

// roundTrip is how far away an address is.
func roundTrip(ctx context.Context, address string) (time.Duration, error) {
	var took []time.Duration
	for range 5 {
		start := time.Now()
		conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", address)
		if err != nil {
			return 0, err
		}
		took = append(took, time.Since(start))
		_ = conn.Close()
	}
	return slices.Min(took), nil
}

// moduleVersion is that of a module in this program.
func moduleVersion(path string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == path {
				return module.Version
			}
		}
	}
	return "(unknown)"
}
