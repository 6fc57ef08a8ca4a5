package main_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
)

// guideTable is the DDL of the guide that the old system's users followed.
const guideTable = `CREATE TABLE event_outbox (
	id SERIAL PRIMARY KEY, event_id VARCHAR(255) NOT NULL UNIQUE, topic VARCHAR(255) NOT NULL, payload BYTEA NOT NULL,
	key BYTEA, created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(), processed_at TIMESTAMP WITH TIME ZONE,
	error_message TEXT, retry_count INTEGER NOT NULL DEFAULT 0, max_retries INTEGER NOT NULL DEFAULT 3)`

// TestUnfitTable: a missing table, or an old one, ends the process at once with the command that helps.
func TestUnfitTable(t *testing.T) {
	t.Parallel()
	for name, ddl := range map[string]string{"missing": `SELECT 1`, "not migrated": guideTable} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, dsn := bustest.Postgres(t)
			_, err := db.ExecContext(t.Context(), ddl)
			require.NoError(t, err)
			env := []string{"DATABASE_URL=" + dsn, "TAILRACE_HTTP_ADDR=off"}
			began := time.Now()
			code, output := run(t, env, "forward")
			require.Equal(t, 1, code, output)
			require.Less(t, time.Since(began), 10*time.Second)
			require.Contains(t, output, "tailrace migrate\n", "the command stands alone, to be copied")

			code, output = run(t, env, "migrate")
			require.Zero(t, code, output)
			p := start(t, append(env[:1:1], "TAILRACE_HTTP_ADDR=127.0.0.1:0"), "forward")
			p.waitReady(200, "owner")
			p.stop()
		})
	}
	_, dsn := bustest.Postgres(t)
	_, output := run(t, []string{"DATABASE_URL=" + dsn}, "forward", "--http-addr", "off", "--table", "app.events")
	require.Contains(t, output, `tailrace migrate --table "app.events"`)
	_, output = run(t, []string{"DATABASE_URL=" + dsn}, "status")
	require.Contains(t, output, "tailrace migrate\n")
}

// TestBadConfiguration: every mistake is named in one error, and no secret with them.
func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t"
	for name, c := range map[string]struct {
		env, args []string
		want      []string
	}{
		"all from the environment": {
			env: []string{
				"DATABASE_URL=postgres://user:" + secret + "/%zz@host/db", "KAFKA_BROKERS=one two,three:x",
				"KAFKA_SECURITY_PROTOCOL=TLS", "EVENT_TOPIC_PREFIX=a b", "KAFKA_SASL_MECHANISM=NTLM", "TAILRACE_HTTP_ADDR=here", "KAFKA_SASL_PASSWORD=" + secret,
				"TAILRACE_BATCH_SIZE=many", "TAILRACE_CREATE_TOPICS=yes please",
			},
			args: []string{"forward"},
			want: []string{"DATABASE_URL", "one two", "three:x", "KAFKA_SECURITY_PROTOCOL", "prefix", "TAILRACE_HTTP_ADDR", "KAFKA_SASL_MECHANISM", "TAILRACE_BATCH_SIZE", "TAILRACE_CREATE_TOPICS"},
		},
		"all from flags": {
			args: []string{"forward", "--database-url", "host=h port=" + secret, "--lease", "1ms", "--window", "-1", "--retention", "week", "--compression", "rar", "--table", "a.b.c", "--log-level", "loud", "--log-format", "xml", "--topic-replication", "-1", "--kafka-brokers", "x:y", "--engine", "steam"},
			want: []string{"--database-url", "--lease", "--window", "--retention", "--compression", "--table", "a.b.c", "--log-level", "--log-format", "--topic-replication", "--kafka-brokers", "--engine"},
		},
		"what goes together": {
			env:  []string{"DATABASE_URL=postgres://u:" + secret + "@h/d", "KAFKA_SECURITY_PROTOCOL=SASL_SSL", "KAFKA_SASL_MECHANISM=PLAIN"},
			args: []string{"forward"},
			want: []string{"KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"},
		},
		"tracing": {
			env:  []string{"OTEL_TRACES_EXPORTER=zipkin", "OTEL_EXPORTER_OTLP_ENDPOINT=user:" + secret + "@collector", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"},
			args: []string{"forward"},
			want: []string{"OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "http/protobuf"},
		},
		"nothing at all":     {args: []string{"forward"}, want: []string{"DATABASE_URL", "--database-url"}},
		"an unknown flag":    {args: []string{"forward", "--fast"}, want: []string{"--fast", "forward --help"}},
		"an argument":        {args: []string{"migrate", "down"}, want: []string{"down"}},
		"an unknown command": {args: []string{"backward"}, want: []string{"backward"}},
		"migrate":            {args: []string{"migrate", "--lock-timeout", "0", "--table", "x y"}, want: []string{"DATABASE_URL", "--lock-timeout"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, output := run(t, c.env, c.args...)
			require.Equal(t, 2, code, output)
			for _, want := range c.want {
				require.Contains(t, output, want)
			}
			require.NotContains(t, output, secret)
			require.NotContains(t, output, "level=", "nothing was started")
		})
	}
}

// TestFlagsWinOverTheEnvironment, and the environment over the defaults.
func TestFlagsWinOverTheEnvironment(t *testing.T) {
	t.Parallel()
	db, dsn := bustest.Postgres(t)
	_, err := db.ExecContext(t.Context(), `CREATE SCHEMA app`)
	require.NoError(t, err)
	code, output := run(t, []string{"DATABASE_URL=postgres://nobody@127.0.0.1:1/none", "EVENT_OUTBOX_TABLE=app.one"}, "migrate", "--database-url", dsn, "--table", "app.two")
	require.Zero(t, code, output)
	require.Contains(t, output, "two")
	code, output = run(t, []string{"DATABASE_URL=" + dsn, "EVENT_OUTBOX_TABLE=app.one"}, "migrate")
	require.Zero(t, code, output)
	require.Contains(t, output, "one")
}

// TestBusyPort is said before anything is started.
func TestBusyPort(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	code, output := run(t, []string{"DATABASE_URL=postgres://u@127.0.0.1:1/d", "TAILRACE_HTTP_ADDR=" + listener.Addr().String()}, "forward")
	require.Equal(t, 1, code)
	for _, want := range []string{listener.Addr().String(), "in use", "--http-addr", "off"} {
		require.Contains(t, output, want)
	}
}

// TestHelpExplainsEachFlag with its default and its environment variable.
func TestHelpExplainsEachFlag(t *testing.T) {
	t.Parallel()
	code, output := run(t, nil, "forward", "--help")
	require.Zero(t, code)
	text := strings.Join(strings.Fields(output), " ")
	for flag, want := range map[string][]string{
		"--database-url url":       {"[DATABASE_URL]"},
		"--table name":             {"[EVENT_OUTBOX_TABLE] (default event_outbox)"},
		"--kafka-brokers":          {"[KAFKA_BROKERS] (default localhost:9092)"},
		"--kafka-security-proto":   {"[KAFKA_SECURITY_PROTOCOL] (default PLAINTEXT)"},
		"--kafka-sasl-mechanism":   {"[KAFKA_SASL_MECHANISM]", "SCRAM-SHA-512"},
		"--kafka-sasl-username":    {"[KAFKA_SASL_USERNAME]", "KAFKA_SASL_PASSWORD"},
		"--kafka-ssl-ca-file path": {"[KAFKA_SSL_CA_FILE]"},
		"--engine name":            {"[TAILRACE_ENGINE] (default pipeline)"},
		"--topic-prefix":           {"[EVENT_TOPIC_PREFIX] (default marty)"},
		"--dead-letter-topic":      {"(default dead.letter.queue)"},
		"--batch-size rows":        {"(default 2000)"},
		"--window rows":            {"(default 8000)"},
		"--retention duration":     {"(default 7d)"},
		"--lease duration":         {"(default 1.2s)"},
		"--drain-timeout duration": {"(default 15s)"},
		"--http-addr host:port":    {"[TAILRACE_HTTP_ADDR] (default 127.0.0.1:8090)", "off"},
		"--create-topics":          {"[TAILRACE_CREATE_TOPICS]"},
		"--topic-partitions count": {"(default 6)"},
		"--compression codec":      {"(default none)", "zstd"},
		"--log-format format":      {"(default text)", "json"},
		"--log-level level":        {"(default info)"},
	} {
		require.Contains(t, text, flag)
		for _, part := range want {
			require.Contains(t, text, part, flag)
		}
	}
	_, output = run(t, nil, "migrate", "--help")
	for _, want := range []string{"--print", "--rewrite", "--table", "--lock-timeout", "50ms"} {
		require.Contains(t, output, want)
	}
	_, output = run(t, nil, "--help")
	for _, want := range []string{"bench", "demo", "forward", "migrate", "status", "version"} {
		require.Contains(t, output, want)
	}
}

// TestPrintNeedsNoDatabase: the SQL goes to a database administrator.
func TestPrintNeedsNoDatabase(t *testing.T) {
	t.Parallel()
	code, output := run(t, nil, "migrate", "--print", "--table", "app.events")
	require.Zero(t, code, output)
	require.Contains(t, output, `"app"."events"`)
	require.Contains(t, output, "CONCURRENTLY")
	code, output = run(t, nil, "version")
	require.Zero(t, code)
	require.Contains(t, output, "tailrace ")
}

// TestLogsAsJSON, one object a line.
func TestLogsAsJSON(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := start(t, []string{"DATABASE_URL=" + b.dsn, "TAILRACE_LOG_FORMAT=json", "TAILRACE_HTTP_ADDR=off"}, "forward")
	require.Eventually(t, func() bool { return strings.Contains(p.log.String(), "owning the outbox") }, patience, tick)
	p.stop()
	for line := range strings.Lines(p.log.String()) {
		require.True(t, strings.HasPrefix(line, `{"time":`), line)
	}
}
