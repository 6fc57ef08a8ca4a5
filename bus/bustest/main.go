package bustest

import (
	"os"
	"testing"
)

// Main runs a package's tests, stops the servers they shared and exits. It is for TestMain; without it
// the servers end with the process all the same, only less politely.
//
//	func TestMain(m *testing.M) { bustest.Main(m) }
func Main(m *testing.M) { os.Exit(Stopping(m).Run()) }

// Stopping returns m, stopping the shared servers after the tests: for a TestMain that does more, as in
// goleak.VerifyTestMain(bustest.Stopping(m)), where a running server's goroutines would count as leaks.
func Stopping(m *testing.M) interface{ Run() int } { return stopping{m} }

type stopping struct{ m *testing.M }

func (s stopping) Run() int {
	defer stopShared()
	return s.m.Run()
}

func stopShared() {
	sharedPostgres.Lock()
	defer sharedPostgres.Unlock()
	if sharedPostgres.server != nil {
		_ = sharedPostgres.server.Stop()
		sharedPostgres.server = nil
	}
	for node := takeNode(); node != nil; node = takeNode() {
		node.Stop()
	}
}
