package bustest

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tailrace-go/tailrace/internal/embedded/kafka"
)

// adminTimeout bounds what a Broker asks of its cluster for a test.
const adminTimeout = 30 * time.Second

// Broker is a Kafka cluster of a test's own. It is safe for concurrent use.
type Broker struct {
	cluster *kafka.Cluster
	client  *kgo.Client
}

// KafkaOption is an option of [Kafka].
type KafkaOption func(*kafka.Config)

// KafkaBrokers gives the cluster n brokers, so that partitions have different leaders. Default 1.
func KafkaBrokers(n int) KafkaOption { return func(cfg *kafka.Config) { cfg.Brokers = n } }

// KafkaAutoCreate makes unknown topics when a client asks for them, with that many partitions.
func KafkaAutoCreate(partitions int) KafkaOption {
	return func(cfg *kafka.Config) { cfg.AutoCreate, cfg.DefaultPartitions = true, partitions }
}

// Kafka returns a new, empty cluster for this test, which ends with it.
func Kafka(t testing.TB, options ...KafkaOption) *Broker {
	t.Helper()
	var cfg kafka.Config
	for _, option := range options {
		option(&cfg)
	}
	cluster, err := kafka.Start(cfg)
	if err != nil {
		t.Fatalf("bustest: %v", err)
	}
	t.Cleanup(cluster.Stop)
	client, err := cluster.Client()
	if err != nil {
		t.Fatalf("bustest: %v", err)
	}
	t.Cleanup(client.Close)
	return &Broker{cluster: cluster, client: client}
}

// Brokers are the addresses to connect to, host:port.
func (b *Broker) Brokers() []string { return b.cluster.Brokers() }

// CreateTopic makes a topic with that many partitions, one replica each. Configs are the topic's
// settings by their Kafka names ("max.message.bytes"); nil for none.
func (b *Broker) CreateTopic(t testing.TB, name string, partitions int32, configs map[string]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	settings := make(map[string]*string, len(configs))
	for key, value := range configs {
		settings[key] = &value
	}
	if _, err := kadm.NewClient(b.client).CreateTopic(ctx, partitions, 1, settings, name); err != nil {
		t.Fatalf("bustest: create topic %s: %v", name, err)
	}
}

// Stop takes the brokers away: connections break, new ones are refused. The data stays.
func (b *Broker) Stop() { b.cluster.Shut() }

// Restart brings the brokers back, with the same addresses and data.
func (b *Broker) Restart(t testing.TB) {
	t.Helper()
	if err := b.cluster.Open(); err != nil {
		t.Fatalf("bustest: %v", err)
	}
}
