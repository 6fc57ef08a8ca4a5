package kafka_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/kafka"
)

func TestValidateListsEverything(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		config kafka.Config
		want   []string // none: valid
	}{
		{"the least", kafka.Config{Brokers: []string{"localhost:9092"}}, nil},
		{"nothing", kafka.Config{}, []string{"Brokers is empty"}},
		{
			"bad addresses",
			kafka.Config{Brokers: []string{"a", "b:0", "c:99999", ":9092", "ok:1", "kafka://d:1"}},
			[]string{`"a"`, `"b:0"`, `"c:99999"`, `":9092"`, `"kafka://d:1"`},
		},
		{"everything wrong at once", kafka.Config{
			SecurityProtocol: "SASL", DialTimeout: -1, RequestTimeout: -1, Version: "new",
		}, []string{"Brokers", "SecurityProtocol", "DialTimeout", "RequestTimeout", "Version"}},
		{"too old", kafka.Config{Brokers: []string{"a:1"}, Version: "0.10.0.0"}, []string{"older than 0.11.0"}},
		{"SASL without its protocol", kafka.Config{Brokers: []string{"a:1"}, SASL: kafka.SASL{Username: "u"}}, []string{"use SASL_SSL"}},
		{"TLS without its protocol", kafka.Config{Brokers: []string{"a:1"}, TLS: kafka.TLS{ServerName: "u"}}, []string{"use SSL"}},
		{"SASL without anything", kafka.Config{
			Brokers: []string{"a:1"}, SecurityProtocol: kafka.SASLSSL, SASL: kafka.SASL{Mechanism: "GSSAPI"},
		}, []string{"Mechanism", "Username", "Password"}},
		{"TLS files", kafka.Config{
			Brokers: []string{"a:1"}, SecurityProtocol: kafka.SSL, TLS: kafka.TLS{CAFile: "/no/such/file", CertFile: "cert.pem"},
		}, []string{"/no/such/file", "go together"}},
		{"no certificate in the file", kafka.Config{
			Brokers: []string{"a:1"}, SecurityProtocol: kafka.SSL, TLS: kafka.TLS{CAFile: "config_test.go"},
		}, []string{"no PEM certificate"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := test.config.Validate()
			if test.want == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, kafka.ErrConfig)
			for _, text := range test.want {
				require.ErrorContains(t, err, text)
			}
			_, err = test.config.Sarama()
			require.Error(t, err)
		})
	}
}

func TestSenderConfigListsEverything(t *testing.T) {
	t.Parallel()
	_, err := kafka.NewSender(kafka.SenderConfig{
		Compression: "brotli", BatchBytes: -1, BatchRecords: -1, RequestBytes: -1, MaxInFlight: -1, RetryBackoff: -1,
		RetryBackoffMax: -1, MetadataRefresh: -1, TopicGrace: -1, AutoCreate: &kafka.TopicShape{},
	})
	for _, text := range []string{
		"Brokers", "brotli", "BatchBytes", "BatchRecords", "RequestBytes", "MaxInFlight", "RetryBackoff ", "RetryBackoffMax",
		"MetadataRefresh", "TopicGrace", "AutoCreate.Partitions", "AutoCreate.ReplicationFactor",
	} {
		require.ErrorContains(t, err, text)
	}
	_, err = kafka.NewPublisher(kafka.PublisherConfig{Timeout: -1, Buffer: -1})
	for _, text := range []string{"Brokers", "Timeout", "Buffer"} {
		require.ErrorContains(t, err, text)
	}
	_, err = kafka.NewSubscriber(kafka.SubscriberConfig{NackResendSleep: -1, ReconnectRetrySleep: -1}, nil)
	for _, text := range []string{"Brokers", "NackResendSleep", "ReconnectRetrySleep"} {
		require.ErrorContains(t, err, text)
	}
}

func TestNothingShowsThePassword(t *testing.T) {
	t.Parallel()
	config := kafka.Config{
		Brokers: []string{"a:1", "bad"}, SecurityProtocol: kafka.SASLSSL,
		SASL: kafka.SASL{Mechanism: kafka.ScramSHA512, Username: "app", Password: "hunter2"},
		TLS:  kafka.TLS{CAFile: filepath.Join(t.TempDir(), "none")},
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		fmt.Fprintf(&out, verb, config)
		fmt.Fprintf(&out, verb, &config)
		fmt.Fprintf(&out, verb, config.SASL)
		fmt.Fprintf(&out, verb, config.SASL.Password)
		fmt.Fprintf(&out, verb, kafka.SenderConfig{Config: config})
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "config", config, "sasl", config.SASL, "secret", config.SASL.Password)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "config", config, "sasl", config.SASL, "sender", kafka.SenderConfig{Config: config})
	require.NoError(t, json.NewEncoder(&out).Encode(config.SASL))
	fmt.Fprint(&out, config.Validate())
	require.NotContains(t, out.String(), "hunter2")
	require.Contains(t, out.String(), "app")
	require.Contains(t, out.String(), "[redacted]")
}

func TestSaramaSettings(t *testing.T) {
	t.Parallel()
	settings, err := kafka.Config{
		Brokers: []string{"a:1"}, ClientID: "me", DialTimeout: time.Second, RequestTimeout: 3 * time.Second, Version: "3.7.0",
	}.Sarama()
	require.NoError(t, err)
	require.NoError(t, settings.Validate())
	require.Equal(t, "me", settings.ClientID)
	require.Equal(t, sarama.V3_7_0_0, settings.Version)
	require.Equal(t, time.Second, settings.Net.DialTimeout)
	require.Equal(t, 3*time.Second, settings.Net.ReadTimeout)
	require.Equal(t, sarama.WaitForAll, settings.Producer.RequiredAcks)
	require.Equal(t, sarama.OffsetOldest, settings.Consumer.Offsets.Initial)
	require.False(t, settings.Metadata.AllowAutoTopicCreation)
	require.True(t, settings.Consumer.Return.Errors, "Watermill's default is kept")
}

func FuzzParseBrokers(f *testing.F) {
	for _, list := range []string{"a", "a:1,b:2", " a , ,b:9 ", "[::1]:9", "::1", "", ":", "a:b", "kafka://a", "[::1"} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		brokers, err := kafka.ParseBrokers(list)
		if err != nil {
			require.ErrorIs(t, err, kafka.ErrConfig)
			return
		}
		require.NotEmpty(t, brokers)
		require.NoError(t, kafka.Config{Brokers: brokers}.Validate())
		for _, broker := range brokers {
			host, port, err := net.SplitHostPort(broker)
			require.NoError(t, err)
			require.NotEmpty(t, host)
			require.NotEmpty(t, port)
		}
	})
}

func TestParseBrokers(t *testing.T) {
	t.Parallel()
	brokers, err := kafka.ParseBrokers(" a:1, b ,,[::1]:3,::2")
	require.NoError(t, err)
	require.Equal(t, []string{"a:1", "b:9092", "[::1]:3", "[::2]:9092"}, brokers)
	_, err = kafka.ParseBrokers("a:1,b:x,c:0")
	require.ErrorContains(t, err, `"b:x"`)
	require.ErrorContains(t, err, `"c:0"`)
	_, err = kafka.ParseBrokers(" ,")
	require.ErrorIs(t, err, kafka.ErrConfig)
}
