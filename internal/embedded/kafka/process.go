package kafka

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tailrace-go/tailrace/internal/embedded/proc"
)

// processEnv asks a program that calls Serve to be a broker. Its value is the processConfig.
const processEnv = "TAILRACE_EMBEDDED_BROKER"

// ProcessConfig is a cluster in a process of its own, so that what it costs is not counted as its
// clients'. The zero value is one broker without latency.
type ProcessConfig struct {
	// Brokers is the number of brokers. Default 1.
	Brokers int
	// ProduceLatency delays each answer to a produce request. Default 0.
	ProduceLatency time.Duration
	// DataDir keeps the data on disk, for Shut, Kill and Open. Default: in memory, lost with the process.
	DataDir string
	// Discard answers produce requests without keeping the records.
	Discard bool

	// Ports are those of an earlier run of the process.
	Ports []int `json:"ports"`
}

// Process is a cluster in a process of its own.
type Process struct {
	cfg       ProcessConfig
	addresses []string

	mu      sync.Mutex
	process *proc.Process
}

// StartProcess runs this very program again, as a broker. Its main function, or an init function of a
// package it imports, must call [Serve].
func StartProcess(ctx context.Context, cfg ProcessConfig) (*Process, error) {
	p := &Process{cfg: cfg}
	return p, p.launch(ctx)
}

func (p *Process) launch(ctx context.Context) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	config, err := json.Marshal(p.cfg) //nolint:musttag // Only Serve reads it.
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	process, err := proc.Start(proc.Config{
		Path: program, Env: append(os.Environ(), processEnv+"="+string(config)), Output: writer,
	})
	_ = writer.Close()
	if err != nil {
		_ = reader.Close()
		return fmt.Errorf("kafka: %w", err)
	}
	answer := make(chan error, 1)
	go func() {
		defer reader.Close()
		lines := bufio.NewReader(reader)
		line, err := lines.ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, &p.addresses)
		}
		answer <- err
		_, _ = io.Copy(os.Stderr, lines) // a panic
	}()
	select {
	case err = <-answer:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = process.Stop(syscall.SIGKILL, stopTimeout)
		return fmt.Errorf("kafka: the broker's process did not start (it must call Serve): %w", err)
	}
	p.cfg.Ports = p.cfg.Ports[:0]
	for _, address := range p.addresses {
		_, port, _ := net.SplitHostPort(address)
		number, _ := strconv.Atoi(port)
		p.cfg.Ports = append(p.cfg.Ports, number)
	}
	p.mu.Lock()
	p.process = process
	p.mu.Unlock()
	return nil
}

const stopTimeout = 10 * time.Second

// Brokers are the addresses of the brokers, host:port.
func (p *Process) Brokers() []string { return p.addresses }

// Client returns a client of the cluster.
func (p *Process) Client(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(p.addresses...)}, options...)...)
}

// PID is the process id, 0 when it is stopped.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil {
		return 0
	}
	return p.process.PID()
}

// Shut ends the process cleanly.
func (p *Process) Shut() error { return p.end(syscall.SIGTERM) }

// Kill ends the process as a crash does.
func (p *Process) Kill() error { return p.end(syscall.SIGKILL) }

// Open starts the process again, at the same addresses, with what DataDir holds.
func (p *Process) Open(ctx context.Context) error {
	if p.PID() != 0 {
		return nil
	}
	return p.launch(ctx)
}

// Stop ends the process.
func (p *Process) Stop() { _ = p.Kill() }

func (p *Process) end(signal syscall.Signal) error {
	p.mu.Lock()
	process := p.process
	p.process = nil
	p.mu.Unlock()
	if process == nil {
		return nil
	}
	if err := process.Stop(signal, stopTimeout); err != nil && !errors.Is(err, proc.ErrNotRunning) {
		return fmt.Errorf("kafka: %w", err)
	}
	return nil
}
