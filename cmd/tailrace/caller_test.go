package main_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/topics"
)

// callerVariable makes the test binary a caller on that database, see callAndDie.
const callerVariable = "TAILRACE_TEST_CALLER_DSN"

const callerUsers = 50

// callAndDie is a service that is killed right after a commit, with another transaction open.
func callAndDie(dsn string) {
	must := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
	}
	db, err := sql.Open("postgres", dsn)
	must(err)
	b, err := bus.New(bus.Config{Service: "users", Topics: topics.Naming{Prefix: "marty"}, DB: db})
	must(err)
	register := func(ctx context.Context, name string, n int) error {
		for i := range n {
			id := fmt.Sprintf("%s-%d", name, i)
			if _, err := b.PublishAll(ctx,
				envelopes.Audit{EventType: envelopes.DataCreated, Action: "create_user", ResourceType: "user", ResourceID: id},
				envelopes.Notification{EventType: envelopes.UserWelcome, RecipientType: envelopes.RecipientUser, RecipientIDs: []string{id}, Message: "Welcome."},
				envelopes.Domain{AggregateType: "user", AggregateID: id, EventType: "user_created"},
			); err != nil {
				return err
			}
		}
		return nil
	}
	ctx := context.Background()
	open, err := db.BeginTx(ctx, nil)
	must(err)
	must(register(b.WithTx(ctx, open), "open", 10))
	must(b.Transact(ctx, func(ctx context.Context, _ *sql.Tx) error { return register(ctx, "committed", callerUsers) }))
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// TestCallerKilledAfterCommit: what was committed is published, what was not is not.
func TestCallerKilledAfterCommit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	all := []string{"marty.audit.events", "marty.notification.events", "marty.users.user.user_created"}
	p := b.forward("--create-topics", "--topic-partitions", "3", "--topic-replication", "1")
	p.waitReady(200, "owner")
	caller := exec.Command(os.Args[0])
	caller.Env = append(cleanEnvironment(), callerVariable+"="+b.dsn)
	output, err := caller.CombinedOutput()
	require.ErrorContains(t, err, "killed", string(output))

	b.waitSettled()
	for _, name := range all {
		records := b.broker.WaitRecords(t, name, callerUsers, patience)
		require.Len(t, records, callerUsers, "%s", name)
		for _, record := range records {
			require.Contains(t, string(record.Key), "committed-")
		}
	}
	require.Equal(t, 3*callerUsers, b.count("true"))
	p.stop()
}
