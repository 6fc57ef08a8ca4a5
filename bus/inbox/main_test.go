package inbox_test

import (
	"os"
	"testing"

	"github.com/tailrace-go/tailrace/bus/bustest"
)

// TestMain makes this binary the processes that some tests start, too.
func TestMain(m *testing.M) {
	if dsn := os.Getenv(childDSN); dsn != "" {
		os.Exit(migrateAndExit(dsn))
	}
	if config := os.Getenv(childMember); config != "" {
		os.Exit(runChild(config))
	}
	os.Exit(bustest.Stopping(m).Run())
}
