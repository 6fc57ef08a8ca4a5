package bustest

import (
	"context"
	"testing"
	"time"

	"github.com/tailrace-go/tailrace/internal/embedded/kafka"
)

// A test binary that imports bustest can be a broker: see KafkaProcess.
func init() { kafka.Serve() } //nolint:gochecknoinits // Before any test runs.

// ProcessConfig is the cluster of [KafkaProcess].
type ProcessConfig = kafka.ProcessConfig

// KafkaProcess returns an embedded cluster that runs in a process of its own, so that a benchmark's CPU
// figures are its clients' alone. It runs this test binary again, and ends with the test. It has no
// faults but the latency of its configuration, and keeps data across [Broker.Restart] with DataDir only.
func KafkaProcess(t testing.TB, cfg ProcessConfig) *Broker {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	process, err := kafka.StartProcess(ctx, cfg)
	if err != nil {
		t.Fatalf("bustest: %v", err)
	}
	t.Cleanup(process.Stop)
	return newBroker(t, process)
}
