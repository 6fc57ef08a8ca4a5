package inbox_test

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// child starts a member in a process of its own.
func (f *fleet) child(t *testing.T, m member) (*exec.Cmd, io.WriteCloser, *bufio.Reader) {
	t.Helper()
	m.DSN, m.Brokers = f.dsn, f.broker.Brokers()
	config, err := json.Marshal(m)
	require.NoError(t, err)
	cmd := exec.CommandContext(f.ctx, os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childMember+"="+string(config))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, stdin, bufio.NewReader(stdout)
}

// A consumer is killed between the commit and the ack, again and again; each successor gets the message
// again that was not acked, and skips it.
func TestOnKafkaAConsumerKilledBetweenCommitAndAck(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	const sent, deaths = 60, 5
	f.publish(t, sent)
	for i := range deaths {
		cmd, _, _ := f.child(t, member{Group: "mailers", Instance: "mailer-1", DieAfter: 7})
		_ = cmd.Wait()
		status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
		require.True(t, ok)
		require.Equal(t, syscall.SIGKILL, status.Signal())
		handled := f.count(t, `SELECT count(*) FROM welcomed`)
		require.LessOrEqual(t, handled, 7*(i+1)-i, "each successor begins with what its predecessor did not ack")
		require.Positive(t, handled)
	}
	registry, stop := f.start(t, member{Group: "mailers", Instance: "mailer-1"})
	f.waitHandled(t, sent)
	require.Positive(t, duplicates(t, registry), "the last death's message came again")
	stop()
	f.account(t, sent, sent)
}

// A member freezes in its transaction until the group has thrown it out. The other one that gets the
// message waits at the mark; then the frozen one goes on, as if nothing had happened.
func TestOnKafkaTwoMembersHaveTheSameMessage(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	const sent = 20
	f.publish(t, sent)
	cmd, stdin, stdout := f.child(t, member{Group: "mailers", Freeze: true})
	line, err := stdout.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, inside, strings.TrimSpace(line))
	require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))
	require.Zero(t, f.count(t, `SELECT count(*) FROM welcomed`))

	_, _ = f.start(t, member{Group: "mailers"})
	require.Eventually(t, func() bool {
		return f.count(t, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'INSERT INTO "event_inbox"%'`) == 1
	}, 2*patience, tick, "the second member has the message and waits for the first")
	require.NoError(t, stdin.Close())
	require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
	f.account(t, sent, sent)
}
