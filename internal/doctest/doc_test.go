// Package doctest keeps the documents' code running.
package doctest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/outbox"
)

var fence = regexp.MustCompile("(?ms)^```go\n(.*?)\n```$")

const root = "../.."

func blocks(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, file))
	require.NoError(t, err)
	var out []string
	for _, match := range fence.FindAllStringSubmatch(string(text), -1) {
		out = append(out, match[1]+"\n")
	}
	require.NotEmpty(t, out)
	return out
}

// inside returns a folder within the module, so that its packages resolve.
func inside(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(".", "block") //nolint:usetesting // It has to be inside the module.
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// TestTheReadmesExamplePublishes runs it, with its imports, on a database of its own.
func TestTheReadmesExamplePublishes(t *testing.T) {
	t.Parallel()
	db, dsn := bustest.Postgres(t)
	_, err := outbox.Migrate(t.Context(), db, outbox.MigrateConfig{})
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), `CREATE TABLE users (id text PRIMARY KEY, email text)`)
	require.NoError(t, err)
	program := `package main

import (
	"context"
	"database/sql"
	"log"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/connect"
)

` + blocks(t, "README.md")[0]
	dir := inside(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600))

	command := exec.CommandContext(t.Context(), "go", "run", "./"+dir)
	command.Env = append(os.Environ(), "DATABASE_URL="+dsn, "SERVICE_NAME=user-service")
	output, err := command.CombinedOutput()
	require.NoError(t, err, string(output))
	require.Contains(t, string(output), "registered: true")

	var topic, key string
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT topic, convert_from(key, 'UTF8') FROM event_outbox`).Scan(&topic, &key))
	require.Equal(t, "marty.user-service.user.user_created", topic)
	require.Equal(t, "user-123", key)
}

// TestTheReadmesConsumerCompiles wraps the excerpt in a function that has what it names.
func TestTheReadmesConsumerCompiles(t *testing.T) {
	t.Parallel()
	excerpt := blocks(t, "README.md")[1]
	program := `package block

import (
	"context"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/topics"
)

type User struct{ Email string }

var UserCreated = bus.Define[User]("user", "user_created")

func sendWelcome(context.Context, string) error { return nil }

func wire(router *message.Router, publisher message.Publisher, subscriber message.Subscriber) {
` + excerpt + `}

var _ = wire
`
	dir := inside(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "block.go"), []byte(program), 0o600))
	output, err := exec.CommandContext(t.Context(), "go", "vet", "./"+dir).CombinedOutput()
	require.NoError(t, err, string(output))
}

// TestTheReadmeNamesEveryVariable of the environment that connect reads.
func TestTheReadmeNamesEveryVariable(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile(filepath.Join(root, "bus", "connect", "config.go"))
	require.NoError(t, err)
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	for _, match := range regexp.MustCompile(`env:"([A-Z_]+)"`).FindAllStringSubmatch(string(source), -1) {
		name := match[1]
		_, last, _ := strings.Cut(name[len("KAFKA_"):], "_")
		require.True(t, strings.Contains(string(readme), name) || strings.Contains(string(readme), "…_"+last), name)
	}
}
