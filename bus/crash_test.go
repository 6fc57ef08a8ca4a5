package bus_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/envelopes"
)

const (
	crashDSN   = "TAILRACE_TEST_CRASH_DSN"
	crashPoint = "TAILRACE_TEST_CRASH_POINT"
	crashCount = 50
)

// TestMain makes this binary the publisher that is killed, too.
func TestMain(m *testing.M) {
	if dsn := os.Getenv(crashDSN); dsn != "" {
		if err := publishAndDie(dsn, os.Getenv(crashPoint)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func publishAndDie(dsn, point string) error {
	die := func(at string) error {
		if at != point {
			return nil
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			return err
		}
		select {}
	}
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return err
	}
	b, err := bus.New(bus.Config{Service: "user-service", DB: db})
	if err != nil {
		return err
	}
	err = b.Transact(context.Background(), func(ctx context.Context, _ *sql.Tx) error {
		events := make([]envelopes.Event, crashCount)
		for i := range events {
			event := userCreated("u")
			event.Metadata.EventID = fmt.Sprintf("e-%d", i)
			events[i] = event
		}
		if _, err := b.PublishAll(ctx, events...); err != nil {
			return err
		}
		return die("before commit")
	})
	return errors.Join(err, die("after commit"), errors.New("still alive"))
}

func TestAPublisherKilledAroundItsCommit(t *testing.T) {
	t.Parallel()
	for point, want := range map[string]int{"before commit": 0, "after commit": crashCount} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			db, dsn := bustest.Postgres(t)
			d := overDB(t, db)
			child := exec.CommandContext(d.ctx, os.Args[0], "-test.run=^$")
			child.Env = append(os.Environ(), crashDSN+"="+dsn, crashPoint+"="+point)
			var said strings.Builder
			child.Stderr = &said
			err := child.Run()
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit, said.String())
			status, ok := exit.Sys().(syscall.WaitStatus)
			require.True(t, ok)
			require.Equal(t, syscall.SIGKILL, status.Signal(), said.String())

			var rows, pending int
			require.NoError(t, db.QueryRowContext(d.ctx, `SELECT count(*), count(*) FILTER (WHERE processed_at IS NULL AND retry_count < max_retries) FROM event_outbox`).Scan(&rows, &pending))
			require.Equal(t, want, rows)
			require.Equal(t, want, pending)
		})
	}
}
