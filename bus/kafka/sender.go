package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// SenderConfig is how a [Sender] sends. Only Config is needed.
type SenderConfig struct {
	// Config is how to reach the cluster.
	Config Config
	// Compression of batches; the default is none.
	Compression Compression
	// Partitioner is how a key picks its partition; the default is [Murmur2].
	Partitioner Partitioner
	// BatchBytes bounds a batch, before compression; the default is 1,000,000. A topic's own
	// max.message.bytes bounds its batches too. A larger record is sent in a batch of its own.
	BatchBytes int
	// BatchRecords bounds a batch; the default is 5,000.
	BatchRecords int
	// RequestBytes bounds what one produce request carries for all its partitions; the default is 8 MiB.
	RequestBytes int
	// MaxInFlight bounds the produce requests a broker has not answered; the default is 5. No partition
	// is in more than one of them.
	MaxInFlight int
	// RetryBackoff is the pause before the second attempt, doubled for each further one up to
	// RetryBackoffMax and shortened by up to a half at random; the defaults are 50 ms and 1 s.
	RetryBackoff    time.Duration
	RetryBackoffMax time.Duration
	// MetadataRefresh is how often topics are looked up even when nothing fails, which is how more
	// partitions are noticed; the default is 1 min. A topic that gets no record for five times as long is
	// forgotten until it gets one.
	MetadataRefresh time.Duration
	// TopicGrace is how long a topic that existed, or was just created, may be unknown before its records
	// are reported [delivery.Topic]; the default is 1 s.
	TopicGrace time.Duration
	// AutoCreate, if set, creates topics that are missing, in this shape. Nil creates none.
	AutoCreate *TopicShape
	// Logger gets what an operator should know; nil logs nothing.
	Logger *slog.Logger
}

func (c SenderConfig) withDefaults() SenderConfig {
	c.BatchBytes = cmp.Or(c.BatchBytes, 1_000_000)
	c.BatchRecords = cmp.Or(c.BatchRecords, 5_000)
	c.RequestBytes = cmp.Or(c.RequestBytes, 8<<20)
	c.MaxInFlight = cmp.Or(c.MaxInFlight, 5)
	c.RetryBackoff = cmp.Or(c.RetryBackoff, 50*time.Millisecond)
	c.RetryBackoffMax = max(cmp.Or(c.RetryBackoffMax, time.Second), c.RetryBackoff)
	c.MetadataRefresh = cmp.Or(c.MetadataRefresh, time.Minute)
	c.TopicGrace = cmp.Or(c.TopicGrace, time.Second)
	c.Partitioner = cmp.Or(c.Partitioner, Murmur2)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

// Validate reports all mistakes at once, each wrapping [ErrConfig].
func (c SenderConfig) Validate() error {
	errs := []error{c.Config.Validate()}
	if _, ok := c.Compression.codec(); !ok {
		errs = append(errs, configError("Compression %q is none of none, gzip, snappy, lz4, zstd", string(c.Compression)))
	}
	if partitioners[cmp.Or(c.Partitioner, Murmur2)] == nil {
		errs = append(errs, configError("Partitioner %q is none of murmur2, fnv1a", string(c.Partitioner)))
	}
	for _, bound := range []struct {
		name  string
		value int
	}{
		{"BatchBytes", c.BatchBytes},
		{"BatchRecords", c.BatchRecords},
		{"RequestBytes", c.RequestBytes},
		{"MaxInFlight", c.MaxInFlight},
	} {
		if bound.value < 0 {
			errs = append(errs, configError("%s is %d; it must be positive, or 0 for the default", bound.name, bound.value))
		}
	}
	for _, pause := range []struct {
		name  string
		value time.Duration
	}{
		{"RetryBackoff", c.RetryBackoff},
		{"RetryBackoffMax", c.RetryBackoffMax},
		{"MetadataRefresh", c.MetadataRefresh},
		{"TopicGrace", c.TopicGrace},
	} {
		if pause.value < 0 {
			errs = append(errs, configError("%s is %v; it must be positive, or 0 for the default", pause.name, pause.value))
		}
	}
	if c.AutoCreate != nil {
		errs = append(errs, c.AutoCreate.faults("AutoCreate")...)
	}
	return errors.Join(errs...)
}

// Compression names how batches are compressed, as Kafka's compression.type does.
type Compression string

// The compressions. The zero value means [NoCompression].
const (
	NoCompression Compression = "none"
	Gzip          Compression = "gzip"
	Snappy        Compression = "snappy"
	LZ4           Compression = "lz4"
	Zstd          Compression = "zstd"
)

func (c Compression) codec() (sarama.CompressionCodec, bool) {
	switch c {
	case "", NoCompression:
		return sarama.CompressionNone, true
	case Gzip:
		return sarama.CompressionGZIP, true
	case Snappy:
		return sarama.CompressionSnappy, true
	case LZ4:
		return sarama.CompressionLZ4, true
	case Zstd:
		return sarama.CompressionZSTD, true
	default:
		return sarama.CompressionNone, false
	}
}

// ErrClosed is why records are withheld that were given to a stream, or to a stream of a sender, that is
// closed.
var ErrClosed = errors.New("kafka: closed")

// Sender is the [delivery.Sender] over Kafka's protocol. It is safe for concurrent use. It connects when
// the first record is given to one of its streams.
type Sender struct {
	config  SenderConfig
	sarama  *sarama.Config
	codec   sarama.CompressionCodec
	hash    func(key []byte) uint32
	dialer  *dialer
	stop    context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	wake    chan struct{} // of the control loop
	slabs   sync.Pool     // of *slab
	hashes  sync.Pool     // of *[]uint32

	// mu guards everything below and the state of topics, lanes, leaders and streams. No callback of a
	// stream is called under it (see effects).
	mu      sync.Mutex
	started bool
	closed  bool
	streams map[*stream]struct{}
	topics  map[string]*topic
	brokers map[int32]string // addresses, by metadata
	leaders map[int32]*leader

	identity       identity // the newest
	spent          identity // the newest that a lane which is forgotten has used
	identityWanted bool
	parked         []*lane // that wait for a newer identity
}

var _ delivery.Sender = (*Sender)(nil)

// NewSender checks the configuration and starts nothing. Close ends the sender. The error lists every
// mistake and wraps [ErrConfig].
func NewSender(config SenderConfig) (*Sender, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	config = config.withDefaults()
	base, err := config.Config.Sarama()
	if err != nil {
		return nil, err
	}
	codec, _ := config.Compression.codec()
	if codec == sarama.CompressionZSTD && !base.Version.IsAtLeast(sarama.V2_1_0_0) {
		return nil, configError("Compression zstd needs Version 2.1.0 or newer")
	}
	// The sender counts its requests itself: sarama must never block one that was permitted.
	base.Net.MaxOpenRequests = config.MaxInFlight + 1
	if err := base.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	s := &Sender{
		config:  config,
		sarama:  base,
		codec:   codec,
		wake:    make(chan struct{}, 1),
		streams: map[*stream]struct{}{},
		topics:  map[string]*topic{},
		brokers: map[int32]string{},
		leaders: map[int32]*leader{},
	}
	s.hash = partitioners[config.Partitioner]
	s.stop, s.cancel = context.WithCancel(context.Background())
	s.dialer = newDialer(s.stop, base)
	s.slabs.New = func() any { return new(slab) }
	s.hashes.New = func() any { return new([]uint32) }
	return s, nil
}

// Partitioner is how a key picks its partition, unless a record's Route says otherwise.
func (s *Sender) Partitioner() Partitioner { return s.config.Partitioner }

// Stream opens a stream. It does not wait for the broker. On a closed sender the stream withholds
// everything.
func (s *Sender) Stream(config delivery.StreamConfig) delivery.Stream { return s.open(config) }

func (s *Sender) open(config delivery.StreamConfig) *stream {
	st := &stream{sender: s, config: config, done: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		st.stopped = true
		return st
	}
	s.streams[st] = struct{}{}
	return st
}

// Close closes every stream (see [delivery.Stream]), which can take the request timeout, then the
// connections. It may be called more than once.
func (s *Sender) Close() error {
	s.mu.Lock()
	s.closed = true
	streams := make([]*stream, 0, len(s.streams))
	for st := range s.streams {
		streams = append(streams, st)
	}
	s.mu.Unlock()

	var closing sync.WaitGroup
	for _, st := range streams {
		closing.Go(st.Close)
	}
	closing.Wait()
	s.cancel()
	s.dialer.close()
	s.running.Wait()
	return nil
}

// start runs the control loop. s.mu is held.
func (s *Sender) start() {
	if s.started || s.closed {
		return
	}
	s.started = true
	s.running.Go(s.control)
}

func (s *Sender) wakeControl() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
