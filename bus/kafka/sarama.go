package kafka

import (
	"cmp"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/IBM/sarama"
	watermillkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/rcrowley/go-metrics"
)

// Sarama returns the settings as sarama's, for clients of one's own: Watermill's defaults, our
// connection settings, murmur2 partitioning, acks of all replicas, no topics made by asking for them, and
// consumer groups that start at the oldest record. sarama's own metrics are off; set MetricRegistry to
// have them. The error is Validate's.
func (c Config) Sarama() (*sarama.Config, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	version, err := c.version()
	if err != nil {
		return nil, err
	}
	config := watermillkafka.DefaultSaramaSubscriberConfig()
	config.ClientID = cmp.Or(c.ClientID, defaultClientID)
	config.Version = version
	config.Net.DialTimeout = cmp.Or(c.DialTimeout, defaultDialTimeout)
	config.Net.ReadTimeout = c.requestTimeout()
	config.Net.WriteTimeout = c.requestTimeout()
	config.Admin.Timeout = c.requestTimeout()
	config.Metadata.AllowAutoTopicCreation = false
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Timeout = c.ackTimeout()
	config.Producer.Partitioner = sarama.NewMurmur2Partitioner
	config.Producer.Return.Successes = true
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.MetricRegistry = discardMetrics{}
	if c.SecurityProtocol.tls() {
		tlsConfig, errs := c.TLS.build()
		if err := errors.Join(errs...); err != nil {
			return nil, err
		}
		config.Net.TLS.Enable = true
		config.Net.TLS.Config = tlsConfig
	}
	if c.SecurityProtocol.sasl() {
		c.SASL.apply(config)
	}
	return config, nil
}

// ackTimeout is how long a broker waits for its replicas: shorter than we wait for the broker, so that it
// is the broker who says that time is up.
func (c Config) ackTimeout() time.Duration {
	return (c.requestTimeout() * 2 / 3).Truncate(time.Millisecond)
}

// dialer makes connections that all end when it is closed, so that closing a client never waits for a
// broker that does not answer.
type dialer struct {
	ctx    context.Context
	cancel context.CancelFunc
	dial   net.Dialer

	mu    sync.Mutex
	conns map[*trackedConn]struct{}
}

func newDialer(ctx context.Context, config *sarama.Config) *dialer {
	ctx, cancel := context.WithCancel(ctx)
	d := &dialer{ctx: ctx, cancel: cancel, conns: map[*trackedConn]struct{}{}}
	d.dial = net.Dialer{Timeout: config.Net.DialTimeout, KeepAlive: config.Net.KeepAlive}
	config.Net.Proxy.Enable = true
	config.Net.Proxy.Dialer = d
	return d
}

// Dial is proxy.Dialer's.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	conn, err := d.dial.DialContext(d.ctx, network, address)
	if err != nil {
		return nil, err
	}
	tracked := &trackedConn{Conn: conn, dialer: d}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.ctx.Err(); err != nil {
		_ = conn.Close()
		return nil, err
	}
	d.conns[tracked] = struct{}{}
	return tracked, nil
}

func (d *dialer) close() {
	d.cancel()
	d.mu.Lock()
	conns := d.conns
	d.conns = map[*trackedConn]struct{}{}
	d.mu.Unlock()
	for conn := range conns {
		_ = conn.Conn.Close()
	}
}

type trackedConn struct {
	net.Conn
	dialer *dialer
}

func (c *trackedConn) Close() error {
	c.dialer.mu.Lock()
	delete(c.dialer.conns, c)
	c.dialer.mu.Unlock()
	return c.Conn.Close()
}

// discardMetrics is a registry whose metrics count nothing: sarama's histograms and meters cost more than
// the sending of small batches, and its meters keep a goroutine for good.
type discardMetrics struct{}

func (discardMetrics) Each(func(string, any))            {}
func (discardMetrics) Get(string) any                    { return nil }
func (discardMetrics) GetAll() map[string]map[string]any { return nil }
func (discardMetrics) Register(string, any) error        { return nil }
func (discardMetrics) RunHealthchecks()                  {}
func (discardMetrics) Unregister(string)                 {}
func (discardMetrics) UnregisterAll()                    {}
func (discardMetrics) GetOrRegister(_ string, metric any) any {
	switch metric.(type) {
	case func() metrics.Meter, metrics.Meter:
		return metrics.NilMeter{}
	case func() metrics.Histogram, metrics.Histogram:
		return metrics.NilHistogram{}
	case func() metrics.Counter, metrics.Counter:
		return metrics.NilCounter{}
	case func() metrics.Timer, metrics.Timer:
		return metrics.NilTimer{}
	case func() metrics.Gauge, metrics.Gauge:
		return metrics.NilGauge{}
	default:
		return metric
	}
}
