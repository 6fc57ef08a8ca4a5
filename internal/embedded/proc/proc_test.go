//go:build unix

package proc_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/internal/embedded/proc"
)

// parentEnv makes this test binary a parent: it starts a child, writes the child's pid and ends as the
// variable says.
const parentEnv = "TAILRACE_PROC_TEST_PARENT"

func TestMain(m *testing.M) {
	if end := os.Getenv(parentEnv); end != "" {
		beParent(end)
	}
	os.Exit(m.Run())
}

func beParent(end string) {
	process, err := proc.Start(proc.Config{Path: "/bin/sleep", Args: []string{"600"}, Remove: os.Getenv("TAILRACE_PROC_TEST_DIR")})
	if err != nil {
		panic(err)
	}
	fmt.Println(process.PID())
	switch end {
	case "exit":
		os.Exit(0)
	case "panic":
		go func() { panic("as the test asked") }()
	}
	select {}
}

// alive reports whether a process exists and is not a zombie that nobody has reaped.
func alive(pid int) bool {
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || !strings.Contains(string(stat), ") Z ")
}

func TestTheChildEndsWithItsParent(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"exit", "panic", "kill"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "server")
			require.NoError(t, os.Mkdir(dir, 0o700))
			program, err := os.Executable()
			require.NoError(t, err)
			parent := exec.Command(program)
			parent.Env = append(os.Environ(), parentEnv+"="+end, "TAILRACE_PROC_TEST_DIR="+dir)
			output, err := parent.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, parent.Start())
			line, err := bufio.NewReader(output).ReadString('\n')
			require.NoError(t, err)
			child, err := strconv.Atoi(strings.TrimSpace(line))
			require.NoError(t, err)
			if end == "kill" {
				require.True(t, alive(child))
				require.NoError(t, parent.Process.Kill())
			}
			_ = parent.Wait()
			require.Eventually(t, func() bool { return !alive(child) }, 10*time.Second, 10*time.Millisecond)
			require.Eventually(t, func() bool {
				_, err := os.Stat(dir)
				return os.IsNotExist(err)
			}, 10*time.Second, 10*time.Millisecond, "the watchdog removes the directory")
		})
	}
}

func TestStopKillsAChildThatIgnoresTheSignal(t *testing.T) {
	t.Parallel()
	log, err := os.CreateTemp(t.TempDir(), "log")
	require.NoError(t, err)
	defer log.Close()
	process, err := proc.Start(proc.Config{
		Path: "/bin/sh", Args: []string{"-c", "trap '' TERM; echo ready; while :; do sleep 1; done"}, Output: log,
	})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		content, _ := os.ReadFile(log.Name())
		return string(content) == "ready\n"
	}, 10*time.Second, 5*time.Millisecond)
	require.ErrorContains(t, process.Stop(syscall.SIGTERM, 50*time.Millisecond), "was killed")
	require.False(t, alive(process.PID()))
	require.ErrorIs(t, process.Signal(syscall.SIGTERM), proc.ErrNotRunning)
	require.NoError(t, process.Stop(syscall.SIGTERM, time.Second), "stopping it again")
}

func TestStartReportsWhatCannotBeStarted(t *testing.T) {
	t.Parallel()
	_, err := proc.Start(proc.Config{Path: "/does/not/exist"})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestAChildRunsUnderAnotherAccount(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root may change accounts")
	}
	user, err := proc.LookupUser("no-such-account", "nobody")
	require.NoError(t, err)
	log, err := os.CreateTemp(t.TempDir(), "log")
	require.NoError(t, err)
	defer log.Close()
	process, err := proc.Start(proc.Config{Path: "/bin/sh", Args: []string{"-c", "id -u; id -G"}, Output: log, User: user, Dir: "/"})
	require.NoError(t, err)
	<-process.Done()
	require.NoError(t, process.Err())
	content, err := os.ReadFile(log.Name())
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("%d\n%d\n", user.UID, user.GID), string(content))
}
