package main_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestDemo: on a machine with nothing running, as this user and, for root, as one without rights.
func TestDemo(t *testing.T) {
	t.Parallel()
	t.Run("as we are", func(t *testing.T) {
		t.Parallel()
		began := time.Now()
		code, output := run(t, nil, "demo")
		require.Zero(t, code, output)
		require.Contains(t, output, "lost 0   reordered within a key 0   duplicated 0")
		require.NotContains(t, output, "level=", "no log between the lines")
		t.Logf("took %s\n%s", time.Since(began).Round(time.Millisecond), output)
	})
	t.Run("without rights", func(t *testing.T) {
		t.Parallel()
		if os.Getuid() != 0 {
			t.Skip("only root can run it as another user")
		}
		path, err := binary()
		require.NoError(t, err)
		require.NoError(t, os.Chmod(binaryDir, 0o755))
		command := exec.CommandContext(t.Context(), path, "demo", "--users", "20")
		command.Dir, command.Env = "/", append(cleanEnvironment(), "HOME=/nonexistent")
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		output, err := command.CombinedOutput()
		require.NoError(t, err, string(output))
	})
}

// TestDemoInterrupted: Ctrl-C stops the servers too.
func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	p := start(t, nil, "demo", "--users", "100000")
	require.Eventually(t, func() bool { return strings.Contains(p.log.String(), "forwarder and router run") }, patience, tick)
	children, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid()) + "/task/" + strconv.Itoa(p.pid()) + "/children")
	if err != nil {
		children = nil // Not Linux.
	}
	p.signal(syscall.SIGINT)

	require.Equal(t, 1, p.wait())
	require.Contains(t, p.log.String(), "everything that was started is stopped")
	require.Contains(t, p.log.String(), "interrupted")
	for child := range strings.FieldsSeq(string(children)) {
		pid, err := strconv.Atoi(child)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return syscall.Kill(pid, 0) != nil }, patience, tick, "child %d still runs", pid)
	}
}

func TestDemoVerbose(t *testing.T) {
	t.Parallel()
	b := setup(t)
	code, output := run(t, []string{"DATABASE_URL=" + b.dsn}, "demo", "--verbose", "--users", "20")
	require.Zero(t, code, output)
	require.Contains(t, output, "owning the outbox")
	require.Contains(t, output, "DATABASE_URL, in a database of its own")
}
