package bustest_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/tailrace-go/tailrace/bus/bustest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(bustest.Stopping(m),
		// sarama's metrics start it once a process, for good.
		goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}
