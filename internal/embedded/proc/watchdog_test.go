//go:build unix

package proc

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// The kernel's parent-death signal would hide a watchdog that does nothing, so this one is alone.
func TestTheWatchdogAloneEndsTheChild(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "server")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	child := exec.Command("/bin/sleep", "600")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	dog, err := watch(child.Process.Pid, Config{DeathSignal: syscall.SIGTERM, Remove: dir})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	_ = dog.pipe.Close() // as the parent's death does
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		_ = child.Process.Kill()
		t.Fatal("the watchdog did not end the child")
	}
	if err := dog.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Fatalf("the directory is still there: %v", err)
	}
}
