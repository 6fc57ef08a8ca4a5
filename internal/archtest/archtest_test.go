package archtest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/internal/archtest"
)

const module = "github.com/tailrace-go/tailrace"

func rooms(names ...string) []string {
	patterns := make([]string, len(names))
	for i, name := range names {
		patterns[i] = path.Join(module, name)
	}
	return patterns
}

// kafkaClients are the modules that speak to Kafka.
var kafkaClients = []string{
	"github.com/IBM/sarama/...", "github.com/twmb/franz-go/...", "github.com/ThreeDotsLabs/watermill-kafka/...",
}

// databases are what a service that publishes directly need not link.
var databases = []string{"github.com/lib/pq/...", "github.com/ThreeDotsLabs/watermill-sql/..."}

// above are the rooms that stand on bus.
var above = rooms("decorators/...", "bus/consumer/...", "bus/cqrs/...", "bus/request/...", "bus/inbox/...", "bus/connect/...", "forwarder/...", "cmd/...", "examples/...")

var rules = []archtest.Rule{
	{
		Why:  "how things are measured knows none of them",
		Room: rooms("internal/telemetry"), Never: append(rooms("topics/...", "envelopes/...", "bus/..."), above...),
	},
	{
		Why:    "the application chooses what becomes of its spans",
		Room:   rooms("..."),
		Except: rooms("cmd/...", "examples/..."),
		Never:  []string{"go.opentelemetry.io/otel/sdk/..."},
	},
	{
		Why:  "names stand below everything",
		Room: rooms("topics/..."), Never: append(rooms("envelopes/...", "bus/..."), above...),
	},
	{
		Why:  "an event knows neither how it is published nor by what",
		Room: rooms("envelopes/..."), Never: append(rooms("bus/..."), above...),
	},
	{
		Why:  "what is secret has nothing to do with what an event is",
		Room: rooms("envelopes/redact"), Never: rooms("envelopes", "topics/..."),
	},
	{
		Why:  "delivery and the dead letters' headers are the vocabulary of both sides",
		Room: rooms("bus/delivery", "bus/deadletter"), Never: rooms("bus", "bus/outbox/...", "bus/kafka/...", "forwarder/..."),
	},
	{
		Why:  "the outbox is a table with its rules; the bus, if anybody, knows the outbox",
		Room: rooms("bus/outbox/..."), Never: append(rooms("bus", "bus/kafka/..."), above...),
	},
	{
		Why:  "the sender knows no database and no bus",
		Room: rooms("bus/kafka/..."), Never: append(append(rooms("bus", "bus/outbox/..."), databases...), above...),
	},
	{
		Why:  "publishing stands below what uses it",
		Room: rooms("bus"), Never: append(rooms("bus/kafka/..."), above...),
	},
	{
		Why:  "handling events needs no forwarder, and no broker's client",
		Room: rooms("bus/consumer/..."), Never: append(rooms("bus/kafka/...", "forwarder/...", "bus/connect/...", "decorators/..."), kafkaClients...),
	},
	{
		Why:  "Watermill's CQRS component stands on publishing and handling, over any publisher and subscriber",
		Room: rooms("bus/cqrs/..."), Never: append(rooms("bus/kafka/...", "forwarder/...", "bus/connect/...", "decorators/..."), kafkaClients...),
	},
	{
		Why:  "a request says who caused an event, and knows nothing of how that is carried or handled",
		Room: rooms("bus/request/..."), Never: append(rooms("bus/kafka/...", "forwarder/...", "bus/connect/...", "bus/consumer/...", "decorators/..."), kafkaClients...),
	},
	{
		Why:    "gRPC is linked by who asks for it",
		Room:   rooms("..."),
		Except: rooms("bus/request/grpcmeta/...", "cmd/...", "examples/..."),
		Never:  []string{"google.golang.org/grpc/..."},
	},
	{
		Why:  "decorators only publish",
		Room: rooms("decorators/..."), Never: append(rooms("bus/kafka/...", "forwarder/...", "bus/connect/...", "bus/consumer/..."), kafkaClients...),
	},
	{
		Why:  "the forwarder knows Kafka through delivery.Sender only",
		Room: rooms("forwarder/..."), Never: append(rooms("bus/kafka/..."), kafkaClients...),
	},
	{
		Why:    "a service that only writes its outbox links no Kafka client",
		Room:   rooms("..."),
		Except: rooms("bus/kafka/...", "bus/connect/...", "bus/bustest/...", "internal/embedded/...", "cmd/...", "examples/..."),
		Never:  kafkaClients,
	},
	{
		Why:    "a service without pgx links none",
		Room:   rooms("..."),
		Except: rooms("bus/pgxtx"),
		Never:  []string{"github.com/jackc/pgx/..."},
	},
	{
		Why:  "the adapter needs nothing of ours",
		Room: rooms("bus/pgxtx"), Never: rooms("..."),
	},
	{
		Why:    "what is for tests is no part of production code",
		Room:   rooms("..."),
		Except: rooms("bus/bustest/...", "examples/..."),
		Never:  rooms("bus/bustest/..."),
	},
	{
		Why:    "only tests, the demo and the examples start servers",
		Room:   rooms("..."),
		Except: rooms("bus/bustest/...", "internal/embedded/...", "cmd/...", "examples/..."),
		Never:  rooms("internal/embedded/..."),
	},
}

func TestImportsPointOneWay(t *testing.T) {
	t.Parallel()
	touch(t, filepath.Join("..", ".."))
	graph := load(t)
	require.Contains(t, graph, module+"/topics")
	for _, rule := range rules {
		for _, broken := range rule.Broken(graph) {
			t.Error(broken)
		}
	}
}

// touch looks at every Go file of the module, so that go test's cache knows what the go command will read.
func touch(t *testing.T, root string) {
	t.Helper()
	files := 0
	require.NoError(t, filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(file) != ".go" {
			return err
		}
		files++
		_, err = os.Stat(file)
		return err
	}))
	require.Greater(t, files, 10)
}

// load asks the go command, so that build constraints and vendoring are as in a build.
func load(t *testing.T) archtest.Graph {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps", "-json=ImportPath,Imports", module+"/...")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	require.NoError(t, err, stderr.String())
	graph := archtest.Graph{}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var pkg struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			return graph
		} else if err != nil {
			t.Fatal(err)
		}
		graph[pkg.ImportPath] = pkg.Imports
	}
}

func TestEachRuleCanBeBroken(t *testing.T) {
	t.Parallel()
	for _, rule := range rules {
		for _, room := range rule.Room {
			for _, never := range rule.Never {
				from, to := inside(room), inside(never)
				graph := archtest.Graph{from: {"fmt", "example.org/between"}, "example.org/between": {to}}
				require.Equal(t, []string{from + " → example.org/between → " + to + ": " + rule.Why}, rule.Broken(graph))
			}
		}
		for _, spared := range rule.Except {
			graph := archtest.Graph{inside(spared): {inside(rule.Never[0])}}
			require.Empty(t, rule.Broken(graph), spared)
		}
	}
}

// inside is a package that the pattern holds.
func inside(pattern string) string {
	if room, below := path.Split(pattern); below == "..." {
		return room + "some/package"
	}
	return pattern
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	graph := archtest.Graph{"m/bus": {"x"}, "m/bus/sub": {"x"}, "m/business": {"x"}}
	require.Equal(t, []string{"m/bus → x: "}, archtest.Rule{Room: []string{"m/bus"}, Never: []string{"x"}}.Broken(graph))
	require.Equal(t, []string{"m/bus → x: ", "m/bus/sub → x: "},
		archtest.Rule{Room: []string{"m/bus/..."}, Never: []string{"x"}}.Broken(graph))
}
