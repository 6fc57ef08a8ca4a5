//go:build unix

package postgres_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/internal/embedded/postgres"
)

// parentEnv makes this test binary start a server, write its pid and its data directory, and wait to be
// killed.
const parentEnv = "TAILRACE_POSTGRES_TEST_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(parentEnv) != "" {
		server, err := postgres.Start(context.Background(), postgres.Config{})
		if err != nil {
			panic(err)
		}
		fmt.Println(server.PID(), setting(server, "data_directory"))
		select {}
	}
	os.Exit(m.Run())
}

func setting(server *postgres.Server, name string) (value string) {
	db, err := sql.Open("postgres", server.DSN(""))
	if err != nil {
		panic(err)
	}
	defer db.Close()
	if err := db.QueryRow("SELECT current_setting($1)", name).Scan(&value); err != nil {
		panic(err)
	}
	return value
}

func start(t *testing.T, cfg postgres.Config) *postgres.Server {
	t.Helper()
	server, err := postgres.Start(context.Background(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	return server
}

func execute(t *testing.T, server *postgres.Server, statement string) error {
	t.Helper()
	db, err := sql.Open("postgres", server.DSN(""))
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Exec(statement)
	return err
}

func gone(pid int) bool { return syscall.Kill(pid, 0) == syscall.ESRCH }

func TestStartSettings(t *testing.T) {
	t.Parallel()
	server := start(t, postgres.Config{Settings: map[string]string{"work_mem": "5MB"}})
	require.Regexp(t, `^\d+\.\d+$`, server.Version())
	require.False(t, server.External())
	for name, want := range map[string]string{
		"max_connections": "300", "max_prepared_transactions": "10", "fsync": "off", "work_mem": "5MB",
	} {
		require.Equal(t, want, setting(server, name), name)
	}
	require.Equal(t, "on", setting(start(t, postgres.Config{Durable: true}), "fsync"))
}

func TestKillAndRestartKeepPortAndCommittedData(t *testing.T) {
	t.Parallel()
	server := start(t, postgres.Config{})
	require.NoError(t, execute(t, server, "CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)"))
	dsn, pid := server.DSN(""), server.PID()

	require.NoError(t, server.Kill())
	require.True(t, gone(pid))
	require.Error(t, execute(t, server, "SELECT 1"))
	require.NoError(t, server.Restart(context.Background()))
	require.Equal(t, dsn, server.DSN(""))
	require.NoError(t, execute(t, server, "INSERT INTO kept VALUES (2)"))

	require.NoError(t, server.Shutdown())
	require.Zero(t, server.PID())
	require.NoError(t, server.Restart(context.Background()))
	require.NoError(t, execute(t, server, "DO $$ BEGIN ASSERT (SELECT count(*) FROM kept) = 2; END $$"))
}

func TestStopLeavesNothing(t *testing.T) {
	t.Parallel()
	server, err := postgres.Start(context.Background(), postgres.Config{})
	require.NoError(t, err)
	pid, data := server.PID(), setting(server, "data_directory")
	require.NoError(t, server.Stop())
	require.NoError(t, server.Stop(), "stopping it again")
	require.True(t, gone(pid))
	require.NoDirExists(t, filepath.Dir(data))
	require.ErrorIs(t, server.Restart(context.Background()), postgres.ErrStopped)
}

func TestTheServerEndsWithAKilledProcess(t *testing.T) {
	t.Parallel()
	program, err := os.Executable()
	require.NoError(t, err)
	parent := exec.Command(program)
	parent.Env = append(os.Environ(), parentEnv+"=1")
	parent.Stderr = os.Stderr
	output, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	line, err := bufio.NewReader(output).ReadString('\n')
	require.NoError(t, err)
	var pid int
	var data string
	_, err = fmt.Sscan(strings.TrimSpace(line), &pid, &data)
	require.NoError(t, err)
	require.False(t, gone(pid))

	require.NoError(t, parent.Process.Kill())
	_ = parent.Wait()
	require.Eventually(t, func() bool { return gone(pid) }, 20*time.Second, 20*time.Millisecond)
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Dir(data))
		return os.IsNotExist(err)
	}, 20*time.Second, 20*time.Millisecond)
}

func TestDataDirKeepsTheDataFromRunToRun(t *testing.T) {
	t.Parallel()
	// A directory the unprivileged account can reach, when the tests run as root.
	parent, err := os.MkdirTemp("", "tailrace-test-") //nolint:usetesting // t.TempDir is below folders of root's.
	require.NoError(t, err)
	require.NoError(t, os.Chmod(parent, 0o711))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(parent)) })
	cfg := postgres.Config{DataDir: filepath.Join(parent, "data")}

	server, err := postgres.Start(context.Background(), cfg)
	require.NoError(t, err)
	require.NoError(t, execute(t, server, "CREATE TABLE kept ()"))
	require.NoError(t, server.Stop())
	require.NoError(t, execute(t, start(t, cfg), "SELECT * FROM kept"))
}

func TestAnExternalServerIsUsedAndLeftAlone(t *testing.T) {
	t.Parallel()
	owned := start(t, postgres.Config{})
	for _, dsn := range []string{
		owned.DSN("template1"),
		keywords(t, owned.DSN("")),
	} {
		external := start(t, postgres.Config{URL: dsn})
		require.True(t, external.External())
		require.Equal(t, owned.Version(), external.Version())
		name, err := external.CreateDatabase(context.Background(), "TestÄ/some thing")
		require.NoError(t, err)
		require.Regexp(t, `^test__some_thing_[a-z0-9]{12}$`, name)
		db, err := sql.Open("postgres", external.DSN(name))
		require.NoError(t, err)
		defer db.Close()
		var current string
		require.NoError(t, db.QueryRow("SELECT current_database()").Scan(&current))
		require.Equal(t, name, current)
		require.NoError(t, external.DropDatabase(context.Background(), name))
		require.Error(t, db.Ping(), "dropped although it was in use")

		require.ErrorIs(t, external.Kill(), postgres.ErrExternal)
		require.ErrorIs(t, external.Restart(context.Background()), postgres.ErrExternal)
		require.NoError(t, external.Stop())
		require.NoError(t, execute(t, owned, "SELECT 1"))
	}
}

// keywords writes a connection URL in the keyword/value form.
func keywords(t *testing.T, dsn string) string {
	t.Helper()
	parsed, err := url.Parse(dsn)
	require.NoError(t, err)
	password, _ := parsed.User.Password()
	return fmt.Sprintf("host=%s port=%s user=postgres password=%s dbname=postgres sslmode=disable",
		parsed.Hostname(), parsed.Port(), password)
}

func TestStartFailsWithTheCure(t *testing.T) {
	t.Parallel()
	_, err := postgres.Start(context.Background(), postgres.Config{Settings: map[string]string{"no_such_setting": "1"}})
	require.ErrorContains(t, err, "no_such_setting", "the server's own words")
	_, err = postgres.Start(context.Background(), postgres.Config{BinDir: "/does/not/exist"})
	require.ErrorIs(t, err, os.ErrNotExist)
}
