package connect_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/connect"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/topics"
)

func load(t *testing.T, pairs ...string) connect.Config {
	t.Helper()
	config, err := connect.Load(environ(pairs...))
	require.NoError(t, err)
	return config
}

func environ(pairs ...string) map[string]string {
	all := map[string]string{}
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		all[name] = value
	}
	return all
}

func TestDefaults(t *testing.T) {
	// Not parallel: the process's environment must not be read.
	t.Setenv("SERVICE_NAME", "not this one")
	config, err := connect.Load(nil)
	require.NoError(t, err)
	require.Equal(t, connect.Config{
		KafkaBrokers: []string{"localhost:9092"}, KafkaSecurityProtocol: kafka.Plaintext,
		TopicPrefix: "marty", AuditTopic: "audit.events", NotificationTopic: "notification.events", DeadLetterTopic: "dead.letter.queue",
		ServiceName: "unknown", ServiceVersion: "1.0.0", OutboxTable: "event_outbox", Tracing: true, Metrics: true,
	}, config)
	require.NoError(t, config.Validate())
	require.False(t, config.Outboxed())
}

func TestTheGuidesEnvironment(t *testing.T) {
	t.Parallel()
	config := load(t,
		"KAFKA_BROKERS= localhost:9092 , localhost:9093,other", "KAFKA_SECURITY_PROTOCOL=PLAINTEXT", "KAFKA_SASL_MECHANISM=PLAIN",
		"KAFKA_SASL_USERNAME=user", "KAFKA_SASL_PASSWORD=pass", "EVENT_TOPIC_PREFIX=marty", "SERVICE_NAME=user-service",
		"SERVICE_VERSION=2.0.0", "USE_OUTBOX_PATTERN=true", "ENABLE_EVENT_TRACING=false", "ENABLE_EVENT_METRICS=0",
		"DATABASE_URL=postgres://localhost/users")
	require.NoError(t, config.Validate())
	require.Equal(t, []string{"localhost:9092", "localhost:9093", "other:9092"}, config.KafkaBrokers)
	require.True(t, config.Outboxed())
	require.False(t, config.Tracing)
	require.False(t, config.Metrics)
	require.Zero(t, config.Kafka().SASL, "PLAINTEXT has no use for it")
	require.Equal(t, "user-service", config.ServiceName)
	require.Equal(t, topics.Naming{Prefix: "marty", AuditName: "audit.events", NotificationName: "notification.events", DeadLetterName: "dead.letter.queue"}, config.Topics())
}

func TestKafkaSettings(t *testing.T) {
	t.Parallel()
	config := load(t, "KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT", "KAFKA_SASL_MECHANISM=SCRAM-SHA-512", "KAFKA_SASL_USERNAME=u", "KAFKA_SASL_PASSWORD=p")
	require.NoError(t, config.Validate())
	require.Equal(t, kafka.SASL{Mechanism: kafka.ScramSHA512, Username: "u", Password: "p"}, config.Kafka().SASL)
}

func TestAPrefixSetToNothingIsNoPrefix(t *testing.T) {
	t.Parallel()
	config := load(t, "EVENT_TOPIC_PREFIX=", "EVENT_AUDIT_TOPIC=log")
	require.NoError(t, config.Validate())
	audit, err := config.Topics().Audit()
	require.NoError(t, err)
	require.Equal(t, "log", audit)
	require.Equal(t, "unknown", load(t, "SERVICE_NAME=").ServiceName, "another variable set to nothing is unset")
	require.Nil(t, load(t, "USE_OUTBOX_PATTERN=").UseOutbox)
}

func TestBooleans(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{"true": true, "True": true, "TRUE": true, "1": true, "\ttrue": true, "false": false, "False": false, "0": false} {
		config := load(t, "USE_OUTBOX_PATTERN="+value, "ENABLE_EVENT_TRACING="+value, "ENABLE_EVENT_METRICS="+value)
		require.Equal(t, want, *config.UseOutbox, value)
		require.Equal(t, want, config.Tracing, value)
		require.Equal(t, want, config.Metrics, value)
	}
	for _, value := range []string{"yes", "on", "2", "tru", "none", "truefalse"} {
		for _, variable := range []string{"USE_OUTBOX_PATTERN", "ENABLE_EVENT_TRACING", "ENABLE_EVENT_METRICS"} {
			config, err := connect.Load(environ(variable + "=" + value))
			require.ErrorIs(t, err, connect.ErrConfig)
			require.ErrorContains(t, err, variable+": is not a boolean: write true or false")
			require.True(t, config.Tracing && config.Metrics, "the default is in its place")
		}
	}
}

func TestEveryMistakeIsNamedWithoutASecret(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	config, err := connect.Load(environ(
		"KAFKA_BROKERS=ok:1,bad host:9092,other:notaport,u:"+secret+"@host:9092", "KAFKA_SECURITY_PROTOCOL=SASL_"+secret, "KAFKA_SASL_MECHANISM="+secret,
		"EVENT_TOPIC_PREFIX=a b", "EVENT_AUDIT_TOPIC=c:d", "EVENT_NOTIFICATION_TOPIC=e/f", "EVENT_DEAD_LETTER_TOPIC=g h",
		"SERVICE_NAME=user service", "USE_OUTBOX_PATTERN=ja", "ENABLE_EVENT_TRACING=nein", "ENABLE_EVENT_METRICS=vielleicht",
		"EVENT_OUTBOX_TABLE=drop table", "EVENT_OUTBOX_SHARDS=four "+secret, "DATABASE_URL=postgres://u:"+secret+"@host:notaport/db", "KAFKA_SASL_PASSWORD="+secret))
	text := fmt.Sprint(err, "\n", config.Validate())
	require.ErrorIs(t, config.Validate(), connect.ErrConfig)
	for _, variable := range []string{
		"KAFKA_BROKERS", "KAFKA_SECURITY_PROTOCOL", "KAFKA_SASL_MECHANISM", "EVENT_TOPIC_PREFIX", "EVENT_AUDIT_TOPIC",
		"EVENT_NOTIFICATION_TOPIC", "EVENT_DEAD_LETTER_TOPIC", "SERVICE_NAME", "USE_OUTBOX_PATTERN", "ENABLE_EVENT_TRACING",
		"ENABLE_EVENT_METRICS", "EVENT_OUTBOX_TABLE", "EVENT_OUTBOX_SHARDS", "DATABASE_URL",
	} {
		require.Contains(t, text, "connect: invalid configuration: "+variable+": ")
	}
	require.Equal(t, 3, strings.Count(text, "KAFKA_BROKERS: "), "each bad broker, once")
	require.NotContains(t, text, secret)

	sasl := load(t, "KAFKA_SECURITY_PROTOCOL=SASL_SSL", "KAFKA_SSL_KEY_FILE=key.pem")
	err = sasl.Validate()
	for _, variable := range []string{"KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD", "KAFKA_SSL_CERT_FILE"} {
		require.ErrorContains(t, err, variable)
	}
	require.ErrorContains(t, load(t, "KAFKA_SECURITY_PROTOCOL=SSL", "KAFKA_SSL_CA_FILE=/no/such/file").Validate(), "/no/such/file")
}

func TestShards(t *testing.T) {
	t.Parallel()
	require.Zero(t, load(t).OutboxShards)
	four := load(t, "EVENT_OUTBOX_SHARDS= 4")
	require.Equal(t, 4, four.OutboxShards)
	require.NoError(t, four.Validate())
	for _, value := range []string{"-1", "65"} {
		require.ErrorContains(t, load(t, "EVENT_OUTBOX_SHARDS="+value).Validate(), "EVENT_OUTBOX_SHARDS: outbox: "+value+" shards")
	}
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	require.False(t, load(t).OutboxPrepare)
	require.True(t, load(t, "EVENT_OUTBOX_PREPARE=true").OutboxPrepare)
}

func TestWhichWay(t *testing.T) {
	t.Parallel()
	const url = "DATABASE_URL=postgres://localhost/users"
	for _, c := range []struct {
		pairs    []string
		outboxed bool
		err      string
	}{
		{nil, false, ""},
		{[]string{url}, true, ""},
		{[]string{url, "USE_OUTBOX_PATTERN=true"}, true, ""},
		{[]string{url, "USE_OUTBOX_PATTERN=false"}, false, ""},
		{[]string{"USE_OUTBOX_PATTERN=false"}, false, ""},
		{[]string{"USE_OUTBOX_PATTERN=true"}, true, "set DATABASE_URL to the service's database, or USE_OUTBOX_PATTERN=false to publish directly"},
	} {
		config := load(t, c.pairs...)
		require.Equal(t, c.outboxed, config.Outboxed(), "%v", c.pairs)
		if c.err == "" {
			require.NoError(t, config.Validate(), "%v", c.pairs)
		} else {
			require.ErrorContains(t, config.Validate(), c.err)
		}
	}
}

func TestPrintingAConfigShowsNoSecret(t *testing.T) {
	t.Parallel()
	config := load(t, "KAFKA_SASL_PASSWORD=hunter2", "DATABASE_URL=postgres://u:hunter2@host/db?sslpassword=hunter2")
	encoded, err := json.Marshal(struct {
		DSN      connect.DSN
		Password kafka.Secret
	}{config.DatabaseURL, config.KafkaSASLPassword})
	require.NoError(t, err)
	for _, text := range []string{fmt.Sprint(config), fmt.Sprintf("%+v", config), fmt.Sprintf("%#v", config), string(encoded)} {
		require.NotContains(t, text, "hunter2")
		require.Contains(t, text, "host")
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("true", "localhost:9092", "PLAINTEXT", "marty", "postgres://u:p@h/d", "event_outbox")
	f.Add("ja", ",,:", "SSL", "a b", "host=x password='a b'", "a.b.c")
	f.Add("", "", "", "", "", "")
	f.Fuzz(func(t *testing.T, boolean, brokers, protocol, prefix, dsn, table string) {
		config, err := connect.Load(map[string]string{
			"USE_OUTBOX_PATTERN": boolean, "KAFKA_BROKERS": brokers, "KAFKA_SECURITY_PROTOCOL": protocol,
			"EVENT_TOPIC_PREFIX": prefix, "DATABASE_URL": dsn, "EVENT_OUTBOX_TABLE": table,
		})
		if err != nil {
			require.ErrorIs(t, err, connect.ErrConfig)
			require.ErrorContains(t, err, "USE_OUTBOX_PATTERN")
		}
		if err := config.Validate(); err != nil {
			require.ErrorIs(t, err, connect.ErrConfig)
			return
		}
		_, err = config.Topics().Audit()
		require.NoError(t, err)
		require.NoError(t, config.Kafka().Validate())
	})
}
