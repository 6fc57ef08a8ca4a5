// Package kafka runs a Kafka cluster inside the process (franz-go's kfake), for tests, examples and
// demonstrations. It keeps its data in memory unless told otherwise.
package kafka

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/tailrace-go/tailrace/internal/embedded/gate"
)

// User is an account clients authenticate with.
type User struct {
	// Mechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
	Mechanism      string
	Name, Password string
}

// Config is the cluster to start. The zero value is one broker without authentication, data in memory.
type Config struct {
	// Brokers is the number of brokers. Default 1.
	Brokers int
	// DataDir keeps the cluster's data there from one start to the next. Default: in memory.
	DataDir string
	// AutoCreate makes an unknown topic when a client asks for its metadata and allows it, with
	// DefaultPartitions partitions.
	AutoCreate bool
	// DefaultPartitions is the number of partitions of a topic whose creator gives none. Default 1.
	DefaultPartitions int
	// Discard answers produce requests without keeping the records, for measuring clients alone.
	Discard bool
	// TLS makes the brokers speak TLS.
	TLS *tls.Config
	// Users makes the brokers ask for SASL authentication.
	Users []User
	// Ports are the brokers' ports. Default: any free ones.
	Ports []int
}

// Cluster is a running cluster. It is safe for concurrent use.
type Cluster struct {
	cluster   *kfake.Cluster
	gate      *gate.Gate
	listeners []*gate.Listener
	admin     *User
	stop      sync.Once
}

// Start starts a cluster on free ports of the loopback.
func Start(cfg Config) (*Cluster, error) {
	c := &Cluster{gate: gate.New()}
	var ready []*gate.Listener
	for i := range max(cfg.Brokers, 1) {
		var port int
		if i < len(cfg.Ports) {
			port = cfg.Ports[i]
		}
		listener, err := c.gate.Listen(port, cfg.TLS)
		if err != nil {
			c.closeListeners()
			return nil, fmt.Errorf("kafka: %w", err)
		}
		c.listeners = append(c.listeners, listener)
	}
	ready = slices.Clone(c.listeners)
	options := []kfake.Opt{
		kfake.NumBrokers(len(c.listeners)),
		kfake.DefaultNumPartitions(max(cfg.DefaultPartitions, 1)),
		kfake.ListenFn(func(string, string) (net.Listener, error) {
			next := ready[0]
			ready = ready[1:]
			return next, nil
		}),
	}
	if cfg.DataDir != "" {
		options = append(options, kfake.DataDir(cfg.DataDir))
	}
	if cfg.AutoCreate {
		options = append(options, kfake.AllowAutoTopicCreation())
	}
	if cfg.Discard {
		options = append(options, kfake.BlackholeProduce())
	}
	if len(cfg.Users) > 0 {
		c.admin = &User{Mechanism: "PLAIN", Name: "admin-" + rand.Text(), Password: rand.Text()}
		options = append(options, kfake.EnableSASL())
		for _, user := range append(slices.Clone(cfg.Users), *c.admin) {
			options = append(options, kfake.Superuser(user.Mechanism, user.Name, user.Password))
		}
	}
	cluster, err := kfake.NewCluster(options...)
	if err != nil {
		c.closeListeners()
		return nil, fmt.Errorf("kafka: %w", err)
	}
	c.cluster = cluster
	return c, nil
}

// Brokers are the addresses of the brokers, host:port. They do not change.
func (c *Cluster) Brokers() []string {
	addresses := make([]string, len(c.listeners))
	for i, listener := range c.listeners {
		addresses[i] = listener.Addr().String()
	}
	return addresses
}

// Gate holds the faults of the cluster.
func (c *Cluster) Gate() *gate.Gate { return c.gate }

// Client returns a client that reaches the cluster past its faults, authentication included, even while
// it is shut.
func (c *Cluster) Client(options ...kgo.Opt) (*kgo.Client, error) {
	base := []kgo.Opt{kgo.SeedBrokers(c.Brokers()...), kgo.Dialer(c.dial)}
	if c.admin != nil {
		base = append(base, kgo.SASL(plain.Auth{User: c.admin.Name, Pass: c.admin.Password}.AsMechanism()))
	}
	return kgo.NewClient(append(base, options...)...)
}

func (c *Cluster) dial(ctx context.Context, _, address string) (net.Conn, error) {
	for _, listener := range c.listeners {
		if listener.Addr().String() == address {
			return listener.Dial(ctx)
		}
	}
	return nil, fmt.Errorf("kafka: no broker at %s", address)
}

// Shut takes the brokers away from their clients: connections break, new ones are refused, and requests
// that are being answered may or may not have been carried out. The data stays.
func (c *Cluster) Shut() error {
	for _, listener := range c.listeners {
		listener.Shut()
	}
	return nil
}

// Kill is Shut: a cluster in the process has nothing else to lose.
func (c *Cluster) Kill() error { return c.Shut() }

// Open brings the brokers back at the same addresses.
func (c *Cluster) Open(context.Context) error {
	var errs []error
	for _, listener := range c.listeners {
		errs = append(errs, listener.Open())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	return nil
}

// Stop ends the cluster for good. What it kept in memory is gone.
func (c *Cluster) Stop() {
	c.stop.Do(func() {
		c.closeListeners()
		c.cluster.Close()
	})
}

func (c *Cluster) closeListeners() {
	for _, listener := range c.listeners {
		_ = listener.Close()
	}
}
