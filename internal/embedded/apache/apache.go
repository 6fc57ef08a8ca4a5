// Package apache runs Apache Kafka, one node in KRaft mode, from the jars Maven has of it.
package apache

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tailrace-go/tailrace/internal/embedded/gate"
	"github.com/tailrace-go/tailrace/internal/embedded/kafka"
	"github.com/tailrace-go/tailrace/internal/embedded/proc"
)

// The ports of the node: for the gate, for itself and for us, and for its controller.
const (
	clientPort = iota
	internalPort
	controllerPort
	portCount
)

const (
	startTimeout = 90 * time.Second
	stopTimeout  = 30 * time.Second
)

// Cluster is a running Apache Kafka. It is safe for concurrent use.
type Cluster struct {
	cfg        kafka.Config
	libs, java string
	dir        string
	ports      [portCount]int
	gate       *gate.Gate
	listener   *gate.Listener

	mu      sync.Mutex
	process *proc.Process
}

// Start starts a node with an empty disk. Of the configuration, Brokers, DataDir and Discard do not
// apply. The context bounds the start, not the node.
func Start(ctx context.Context, cfg kafka.Config) (*Cluster, error) {
	for attempt := 1; ; attempt++ {
		c := &Cluster{cfg: cfg, gate: gate.New()}
		err := c.start(ctx)
		if err == nil {
			return c, nil
		}
		c.Stop()
		// Between our looking for free ports and the node's taking them, somebody else may have.
		if attempt == 3 || ctx.Err() != nil || !strings.Contains(err.Error(), "Address already in use") {
			return nil, err
		}
	}
}

func (c *Cluster) start(ctx context.Context) error {
	if err := c.prepare(ctx); err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	go c.listener.Proxy(c.address(clientPort))
	return c.launch(ctx)
}

func (c *Cluster) prepare(ctx context.Context) (err error) {
	if c.java, err = findJava(); err != nil {
		return err
	}
	if c.libs, err = libs(ctx); err != nil {
		return err
	}
	if c.dir, err = os.MkdirTemp("", "tailrace-kafka-"); err != nil {
		return err
	}
	if c.listener, err = c.gate.Listen(0, c.cfg.TLS); err != nil {
		return err
	}
	if c.ports, err = freePorts(); err != nil {
		return err
	}
	if err := os.WriteFile(c.path("server.properties"), []byte(c.settings()), 0o600); err != nil {
		return err
	}
	return c.format()
}

// launch starts the process and waits until it takes part in its cluster.
func (c *Cluster) launch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	log, err := os.Create(c.path("log"))
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	defer log.Close()
	process, err := proc.Start(proc.Config{
		Path: c.java, Dir: c.dir, Output: log, Remove: c.dir,
		Args: append(jvmOptions(), "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
			"-cp", filepath.Join(c.libs, "*"), "kafka.Kafka", c.path("server.properties")),
	})
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	if err := c.await(ctx, process); err != nil {
		_ = process.Stop(syscall.SIGKILL, stopTimeout)
		content, _ := os.ReadFile(c.path("log"))
		return fmt.Errorf("kafka: the broker did not start: %w; its log ends:\n%s", err, tail(string(content)))
	}
	c.mu.Lock()
	c.process = process
	c.mu.Unlock()
	return nil
}

// await waits until the broker lists itself, which it does once it may lead partitions.
func (c *Cluster) await(ctx context.Context, process *proc.Process) error {
	client, err := c.Client()
	if err != nil {
		return err
	}
	defer client.Close()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		brokers, err := kadm.NewClient(client).ListBrokers(attempt)
		cancel()
		if err == nil && len(brokers) > 0 {
			return nil
		}
		select {
		case <-ticker.C:
		case <-process.Done():
			return fmt.Errorf("it ended: %w", process.Err())
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// Brokers is the address of the node, host:port, in a slice. It does not change.
func (c *Cluster) Brokers() []string { return []string{c.listener.Addr().String()} }

// Gate holds the faults of the cluster.
func (c *Cluster) Gate() *gate.Gate { return c.gate }

// Client returns a client that reaches the node past its faults and its authentication.
func (c *Cluster) Client(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.address(internalPort))}, options...)...)
}

// Shut ends the node cleanly; its data stays for [Cluster.Open].
func (c *Cluster) Shut() error { return c.end(syscall.SIGTERM) }

// Kill ends the node as a crash does; its data stays for [Cluster.Open].
func (c *Cluster) Kill() error { return c.end(syscall.SIGKILL) }

// Open starts the node again after Shut or Kill, at the same address and with the same data.
func (c *Cluster) Open(ctx context.Context) error {
	c.mu.Lock()
	running := c.process != nil
	c.mu.Unlock()
	if running {
		return nil
	}
	if err := c.launch(ctx); err != nil {
		return err
	}
	if err := c.listener.Open(); err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	return nil
}

// Stop ends the node at once and removes its data.
func (c *Cluster) Stop() {
	_ = c.end(syscall.SIGKILL)
	if c.listener != nil {
		_ = c.listener.Close()
	}
	if c.dir != "" {
		_ = os.RemoveAll(c.dir)
	}
}

// PID is the node's process id, 0 when it is stopped.
func (c *Cluster) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process == nil {
		return 0
	}
	return c.process.PID()
}

func (c *Cluster) end(signal syscall.Signal) error {
	c.mu.Lock()
	process := c.process
	c.process = nil
	c.mu.Unlock()
	if process == nil {
		return nil
	}
	err := process.Stop(signal, stopTimeout)
	c.listener.Shut()
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	return nil
}

func (c *Cluster) path(name string) string { return filepath.Join(c.dir, name) }

func (c *Cluster) address(port int) string { return fmt.Sprintf("127.0.0.1:%d", c.ports[port]) }

// freePorts returns ports that are free together.
func freePorts() (ports [portCount]int, err error) {
	for i := range ports {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return ports, err
		}
		defer listener.Close()
		ports[i] = listener.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// tail is the last lines of a log.
func tail(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
