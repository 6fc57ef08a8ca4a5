package bustest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
	"github.com/xdg-go/scram"

	"github.com/tailrace-go/tailrace/bus/bustest"
)

func TestKafkaBrokersSpreadTheLeaders(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t, bustest.KafkaBrokers(3))
	if !broker.Embedded() {
		t.Skip("other clusters have as many brokers as they have")
	}
	require.Len(t, broker.Brokers(), 3)
	const partitions = 90 // the embedded cluster picks each leader by chance
	broker.CreateTopic(t, "orders", partitions, nil)
	client, err := sarama.NewClient(broker.Brokers(), newSaramaConfig())
	require.NoError(t, err)
	defer client.Close()
	leaders := make(map[int32]bool)
	for partition := range int32(partitions) {
		leader, err := client.Leader("orders", partition)
		require.NoError(t, err)
		leaders[leader.ID()] = true
	}
	require.Len(t, leaders, 3)
}

func TestKafkaAutoCreate(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t, bustest.KafkaAutoCreate(4))
	cfg := newSaramaConfig()
	cfg.Producer.Retry.Max = 50
	cfg.Metadata.Retry.Max, cfg.Metadata.Retry.Backoff = 50, 50*time.Millisecond
	producer, err := sarama.NewSyncProducer(broker.Brokers(), cfg)
	require.NoError(t, err)
	defer producer.Close()
	_, _, err = producer.SendMessage(record("made-on-the-way", 3, nil, "v"))
	require.NoError(t, err)
	require.EqualValues(t, 3, broker.WaitRecords(t, "made-on-the-way", 1, 10*time.Second)[0].Partition)
}

func TestKafkaTLSAndUsers(t *testing.T) {
	t.Parallel()
	server, roots := certificate(t)
	broker := bustest.Kafka(t, bustest.KafkaTLS(server),
		bustest.KafkaUser("SCRAM-SHA-512", "alice", "wonder land"), bustest.KafkaUser("PLAIN", "bob", "builder"))
	broker.CreateTopic(t, "orders", 1, nil)

	for _, test := range []struct {
		name      string
		mechanism sarama.SASLMechanism
		user      string
		password  string
		fails     bool
	}{
		{"SCRAM", sarama.SASLTypeSCRAMSHA512, "alice", "wonder land", false},
		{"PLAIN", sarama.SASLTypePlaintext, "bob", "builder", false},
		{"a wrong password", sarama.SASLTypePlaintext, "bob", "wrecker", true},
		{"no authentication", "", "", "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := newSaramaConfig()
			cfg.Net.TLS.Enable, cfg.Net.TLS.Config = true, &tls.Config{RootCAs: roots}
			cfg.Net.SASL.Enable = test.mechanism != ""
			cfg.Net.SASL.Mechanism, cfg.Net.SASL.User, cfg.Net.SASL.Password = test.mechanism, test.user, test.password
			cfg.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramClient{} }
			err := sendOne(broker, cfg, test.name)
			require.Equal(t, test.fails, err != nil, "%v", err)
		})
	}
	require.Len(t, broker.Records(t, "orders"), 2)
}

type scramClient struct{ *scram.ClientConversation }

func (c *scramClient) Begin(user, password, authzID string) error {
	client, err := scram.SHA512.NewClient(user, password, authzID)
	if err == nil {
		c.ClientConversation = client.NewConversation()
	}
	return err
}

// certificate returns a server configuration for 127.0.0.1 and the roots that trust it.
func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, roots
}

func TestKafkaProcess(t *testing.T) {
	t.Parallel()
	const latency = 30 * time.Millisecond
	broker := bustest.KafkaProcess(t, bustest.ProcessConfig{Brokers: 2, ProduceLatency: latency, DataDir: t.TempDir()})
	require.Len(t, broker.Brokers(), 2)
	require.False(t, broker.Embedded())
	require.False(t, broker.Faulty())
	broker.CreateTopic(t, "orders", 2, nil)
	start := time.Now()
	_, _, err := newProducer(t, broker).SendMessage(record("orders", 0, nil, "before"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(start), latency)

	addresses := broker.Brokers()
	broker.Kill()
	require.Error(t, sendOne(broker, newSaramaConfig(), "meanwhile"))
	broker.Restart(t)
	require.Equal(t, addresses, broker.Brokers())
	require.NoError(t, sendOne(broker, newSaramaConfig(), "after"))
	require.Len(t, broker.WaitRecords(t, "orders", 2, 10*time.Second), 2)
}

func sendOne(broker *bustest.Broker, cfg *sarama.Config, value string) error {
	producer, err := sarama.NewSyncProducer(broker.Brokers(), cfg)
	if err != nil {
		return err
	}
	defer producer.Close()
	_, _, err = producer.SendMessage(record("orders", 0, nil, value))
	return err
}
