// Package proc runs a server as a child that never outlives the process that started it, however that
// one ends: by Stop, by exit, by a panic or by SIGKILL.
//
// Two things see to it. On Linux the kernel sends the child its parent-death signal. Everywhere on Unix a
// shell of a few hundred kilobytes watches a pipe only this process holds; when the pipe closes it ends
// the child and removes its directory.
package proc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// ErrNotRunning is returned by Signal once the child has ended.
var ErrNotRunning = errors.New("proc: the process has ended")

// Config is a child to start.
type Config struct {
	// Path and Args are the program and its arguments, without the program's name.
	Path string
	Args []string
	// Dir is the working directory, by default this process's.
	Dir string
	// Env is the whole environment, by default this process's.
	Env []string
	// Output receives the child's standard output and error; nil discards them. It is a file, since
	// `go test` waits for every pipe it gave a child that outlives the tests.
	Output *os.File
	// User runs the child under another account; nil keeps this process's.
	User *User
	// DeathSignal ends the child when this process dies. Default SIGKILL.
	DeathSignal syscall.Signal
	// Remove is a directory the watchdog removes when this process dies without having called
	// [Process.Wait] to its end. It must be removable by User.
	Remove string
}

// Process is a running child.
type Process struct {
	cmd      *exec.Cmd
	watchdog *watchdog
	done     chan struct{}
	err      error

	mu    sync.Mutex
	ended bool
}

// Start starts the child and its watchdog.
func Start(cfg Config) (*Process, error) {
	if cfg.DeathSignal == 0 {
		cfg.DeathSignal = syscall.SIGKILL
	}
	cmd := exec.Command(cfg.Path, cfg.Args...)
	cmd.Dir, cmd.Env = cfg.Dir, cfg.Env
	if cfg.Output != nil {
		cmd.Stdout, cmd.Stderr = cfg.Output, cfg.Output
	}
	cmd.SysProcAttr = sysProcAttr(cfg.User, cfg.DeathSignal)

	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("proc: start %s: %w", cfg.Path, err)
	}
	watchdog, err := watch(cmd.Process.Pid, cfg)
	if err != nil {
		_ = p.Signal(syscall.SIGKILL)
		<-p.done
		return nil, fmt.Errorf("proc: start the watchdog of %s: %w", cfg.Path, err)
	}
	p.mu.Lock()
	p.watchdog = watchdog
	ended := p.ended
	p.mu.Unlock()
	if ended {
		watchdog.dismiss()
	}
	return p, nil
}

// run starts the child and waits for it on one locked thread: the kernel's parent-death signal fires when
// the thread that forked ends, not the process, so that thread must live as long as the child.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.err = p.cmd.Wait()
	p.mu.Lock()
	p.ended = true
	watchdog := p.watchdog
	p.mu.Unlock()
	if watchdog != nil {
		watchdog.dismiss()
	}
	close(p.done)
}

// PID is the child's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the child has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is why the child ended, once Done is closed; nil for exit status 0.
func (p *Process) Err() error { return p.err }

// Signal sends a signal to the child.
func (p *Process) Signal(signal syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return ErrNotRunning
	}
	return p.cmd.Process.Signal(signal)
}

// Stop sends the signal, waits, and kills the child if it is still there after the timeout.
func (p *Process) Stop(signal syscall.Signal, timeout time.Duration) error {
	if err := p.Signal(signal); err != nil && !errors.Is(err, ErrNotRunning) && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("proc: signal %d: %w", p.PID(), err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(timeout):
		_ = p.Signal(syscall.SIGKILL)
		<-p.done
		return fmt.Errorf("proc: %s did not end within %s of %s and was killed", p.cmd.Path, timeout, signal)
	}
}
