package main_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// process is a running `tailrace`.
type process struct {
	t    testing.TB
	cmd  *exec.Cmd
	log  *logBuffer
	done chan struct{}
}

// start starts the command with the given environment and arguments. What still runs at the test's end
// is killed; its log is shown when the test failed.
func start(t testing.TB, env []string, args ...string) *process {
	t.Helper()
	return startBinary(t, binary, env, args...)
}

func startBinary(t testing.TB, binary func() (string, error), env []string, args ...string) *process {
	t.Helper()
	path, err := binary()
	require.NoError(t, err)
	p := &process{t: t, cmd: exec.Command(path, args...), log: &logBuffer{}, done: make(chan struct{})}
	p.cmd.Env = append(cleanEnvironment(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		for _, bad := range []string{"panic: ", "fatal error: ", "DATA RACE"} {
			assert.NotContains(t, p.log.String(), bad)
		}
		if t.Failed() {
			p.explain()
		}
		_ = p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("log of process %d, %v:\n%s", p.pid(), args, p.log)
		}
	})
	return p
}

// explain makes a process that still runs say what it does: its readiness, and where its goroutines are.
func (p *process) explain() {
	select {
	case <-p.done:
		return
	default:
	}
	if at := servingAt.FindStringSubmatch(p.log.String()); at != nil {
		status, body := ask("http://" + at[1] + "/readyz")
		p.t.Logf("process %d: /readyz: %d %s", p.pid(), status, body)
	}
	_ = p.cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-p.done:
	case <-time.After(2 * time.Second):
	}
}

// cleanEnvironment is this process's without what tailrace would read.
func cleanEnvironment() []string {
	var env []string
	for _, entry := range os.Environ() {
		if !regexp.MustCompile(`^(KAFKA_|EVENT_|TAILRACE_|OUTBOX_|OTEL_|DATABASE_URL|PG)`).MatchString(entry) {
			env = append(env, entry)
		}
	}
	return env
}

// run runs the command to its end and returns its exit code and what it printed.
func run(t testing.TB, env []string, args ...string) (int, string) {
	t.Helper()
	p := start(t, env, args...)
	return p.wait(), p.log.String()
}

// forward starts `tailrace forward` on the bundle's servers.
func (b *bundle) forward(args ...string) *process {
	b.t.Helper()
	return start(b.t, []string{"DATABASE_URL=" + b.dsn, "KAFKA_BROKERS=" + strings.Join(b.broker.Brokers(), ",")},
		append([]string{"forward", "--http-addr", "127.0.0.1:0"}, args...)...)
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) signal(signal syscall.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(signal))
}

// wait waits for the process's end and returns its exit code, -1 when a signal ended it.
func (p *process) wait() int {
	p.t.Helper()
	return p.waitFor(patience)
}

// waitFor is wait for a process that has much to do.
func (p *process) waitFor(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(limit):
		p.t.Fatal("the process does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

// stop ends the process as an operator does and requires that it went well. One that has said nothing yet may
// not have asked for signals, either.
func (p *process) stop() {
	p.t.Helper()
	require.Eventually(p.t, func() bool { return p.log.String() != "" }, patience, tick, "the process says nothing")
	p.signal(syscall.SIGTERM)
	require.Zero(p.t, p.wait(), "a clean stop exits with 0")
}

var servingAt = regexp.MustCompile(`serving .*address=(\S+)`)

// get asks the process's HTTP server; 0 is no answer.
func (p *process) get(path string) (int, string) {
	p.t.Helper()
	var found []string
	require.Eventually(p.t, func() bool {
		found = servingAt.FindStringSubmatch(p.log.String())
		return found != nil
	}, patience, tick, "the process does not say where it serves")
	return ask("http://" + found[1] + path)
}

func ask(url string) (int, string) {
	response, err := (&http.Client{Timeout: 5 * time.Second}).Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, err.Error()
	}
	return response.StatusCode, string(body)
}

// waitReady waits until /readyz answers with the status and a text that has the words.
func (p *process) waitReady(status int, words string) {
	p.t.Helper()
	require.Eventuallyf(p.t, func() bool {
		got, body := p.get("/readyz")
		return got == status && strings.Contains(body, words)
	}, patience, tick, "/readyz does not say %d, %q", status, words)
}

type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
