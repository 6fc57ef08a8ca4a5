package bustest

import (
	"context"
	"crypto/tls"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tailrace-go/tailrace/internal/embedded/apache"
	"github.com/tailrace-go/tailrace/internal/embedded/gate"
	"github.com/tailrace-go/tailrace/internal/embedded/kafka"
)

// adminTimeout bounds what is asked of a server for a test.
const adminTimeout = 30 * time.Second

// freshMetadata keeps a client from believing for five seconds what it last heard of a topic.
var freshMetadata = kgo.MetadataMinAge(20 * time.Millisecond)

// cluster is what a Broker needs of any Kafka. One that bustest started is an owned too.
type cluster interface {
	Brokers() []string
	// Client returns a client past the gate's faults.
	Client(...kgo.Opt) (*kgo.Client, error)
}

type owned interface {
	Shut() error
	Kill() error
	Open(context.Context) error
}

// Broker is a Kafka cluster of a test's own. It is safe for concurrent use.
type Broker struct {
	t       testing.TB
	cluster cluster
	owned   owned      // nil when KAFKA_BROKERS names the cluster
	gate    *gate.Gate // nil when there are no faults to be had
	client  *kgo.Client
}

// KafkaOption is an option of [Kafka].
type KafkaOption func(*kafka.Config)

// KafkaBrokers gives the embedded cluster n brokers, so that partitions have different leaders. Default
// 1. Apache Kafka runs as one node whatever n is; Brokers tells.
func KafkaBrokers(n int) KafkaOption { return func(cfg *kafka.Config) { cfg.Brokers = n } }

// KafkaAutoCreate makes unknown topics when a client asks for them, with that many partitions.
func KafkaAutoCreate(partitions int) KafkaOption {
	return func(cfg *kafka.Config) { cfg.AutoCreate, cfg.DefaultPartitions = true, partitions }
}

// KafkaTLS makes the brokers speak TLS, with this server configuration.
func KafkaTLS(config *tls.Config) KafkaOption { return func(cfg *kafka.Config) { cfg.TLS = config } }

// KafkaUser makes the brokers ask for authentication and lets this user in. Mechanism is PLAIN,
// SCRAM-SHA-256 or SCRAM-SHA-512. It may be given several times.
func KafkaUser(mechanism, name, password string) KafkaOption {
	return func(cfg *kafka.Config) {
		cfg.Users = append(cfg.Users, kafka.User{Mechanism: mechanism, Name: name, Password: password})
	}
}

// Kafka returns a Kafka cluster without topics for this test. By default it is embedded in the process
// and ends with the test. With TAILRACE_KAFKA=apache it is Apache Kafka, a node of which serves one test
// after another. Else, if KAFKA_BROKERS is set, it is the cluster that names, which keeps what others
// have in it; only topics made by [Broker.CreateTopic] are deleted afterwards.
//
// With KAFKA_BROKERS, tests that need more than a running cluster (options, Stop, faults) are skipped.
func Kafka(t testing.TB, options ...KafkaOption) *Broker {
	t.Helper()
	var cfg kafka.Config
	for _, option := range options {
		option(&cfg)
	}
	switch kind, addresses := os.Getenv("TAILRACE_KAFKA"), os.Getenv("KAFKA_BROKERS"); {
	case kind == "apache":
		return apacheBroker(t, cfg)
	case kind != "" && kind != "embedded":
		t.Fatalf("bustest: TAILRACE_KAFKA is %q, it must be apache, embedded or unset", kind)
	case kind == "" && addresses != "":
		if cfg.TLS != nil || len(cfg.Users) > 0 || cfg.AutoCreate {
			t.Skip("bustest: a test with TLS, users or automatic topics needs a broker that bustest starts; unset KAFKA_BROKERS")
		}
		return newBroker(t, external(splitAddresses(addresses)))
	}
	cluster, err := kafka.Start(cfg)
	if err != nil {
		t.Fatalf("bustest: %v", err)
	}
	t.Cleanup(cluster.Stop)
	return newBroker(t, cluster)
}

func newBroker(t testing.TB, cluster cluster) *Broker {
	t.Helper()
	client, err := cluster.Client(freshMetadata)
	if err != nil {
		t.Fatalf("bustest: %v", err)
	}
	t.Cleanup(client.Close)
	b := &Broker{t: t, cluster: cluster, client: client}
	b.owned, _ = cluster.(owned)
	if gated, ok := cluster.(interface{ Gate() *gate.Gate }); ok {
		b.gate = gated.Gate()
	}
	return b
}

// Embedded reports whether the cluster runs inside this process.
func (b *Broker) Embedded() bool { _, ok := b.cluster.(*kafka.Cluster); return ok }

// Apache reports whether the cluster is an Apache Kafka that bustest started.
func (b *Broker) Apache() bool { _, ok := b.cluster.(*apache.Cluster); return ok }

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
	admin := kadm.NewClient(b.client)
	if _, err := admin.CreateTopic(ctx, partitions, 1, settings, name); err != nil {
		t.Fatalf("bustest: create topic %s: %v", name, err)
	}
	// Apache Kafka answers before the partitions have leaders, and before the leaders know.
	if err := until(ctx, func() error { _, _, err := offsets(ctx, admin, name); return err }); err != nil {
		t.Fatalf("bustest: create topic %s: %v", name, err)
	}
	if b.owned == nil {
		b.t.Cleanup(func() {
			if _, err := admin.DeleteTopics(context.Background(), name); err != nil {
				b.t.Errorf("bustest: delete topic %s: %v", name, err)
			}
		})
	}
}

// Stop takes the brokers away: connections break, new ones are refused. The data stays.
func (b *Broker) Stop() {
	b.t.Helper()
	b.needOwned()
	if err := b.owned.Shut(); err != nil {
		b.t.Errorf("bustest: %v", err)
	}
}

// Kill is Stop without the brokers' saying good-bye.
func (b *Broker) Kill() {
	b.t.Helper()
	b.needOwned()
	if err := b.owned.Kill(); err != nil {
		b.t.Errorf("bustest: %v", err)
	}
}

// Restart brings the brokers back, with the same addresses and data, after stopping them if they run.
func (b *Broker) Restart(t testing.TB) {
	t.Helper()
	b.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := b.owned.Open(ctx); err != nil {
		t.Fatalf("bustest: %v", err)
	}
}

func (b *Broker) needOwned() {
	b.t.Helper()
	if b.owned == nil {
		b.t.Skip("bustest: stopping a broker needs one that bustest started; unset KAFKA_BROKERS")
	}
}

// until calls the function until it succeeds, and returns its error if the context ends first.
func until(ctx context.Context, succeed func() error) error {
	for {
		err := succeed()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// external is a cluster that was running before.
type external []string

func (e external) Brokers() []string { return e }

func (e external) Client(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(e...)}, options...)...)
}

func splitAddresses(list string) []string {
	var addresses []string
	for address := range strings.SplitSeq(list, ",") {
		if address = strings.TrimSpace(address); address != "" {
			addresses = append(addresses, address)
		}
	}
	return addresses
}
