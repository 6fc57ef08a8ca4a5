//go:build unix

package apache_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tailrace-go/tailrace/internal/embedded/apache"
	"github.com/tailrace-go/tailrace/internal/embedded/kafka"
)

// parentEnv makes this test binary start a node, write its pid and wait to be killed.
const parentEnv = "TAILRACE_APACHE_TEST_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(parentEnv) != "" {
		node, err := apache.Start(context.Background(), kafka.Config{})
		if err != nil {
			panic(err)
		}
		fmt.Println(node.PID())
		select {}
	}
	os.Exit(m.Run())
}

func needApache(t *testing.T) {
	t.Helper()
	if os.Getenv("TAILRACE_KAFKA") != "apache" {
		t.Skip("starts Apache Kafka, which may have to be fetched; set TAILRACE_KAFKA=apache")
	}
}

func gone(pid int) bool { return syscall.Kill(pid, 0) == syscall.ESRCH }

func TestTheNodeEndsWithAKilledProcess(t *testing.T) {
	needApache(t)
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
	_, err = fmt.Sscan(line, &pid)
	require.NoError(t, err)
	require.False(t, gone(pid))
	require.NoError(t, parent.Process.Kill())
	_ = parent.Wait()
	require.Eventually(t, func() bool { return gone(pid) }, 20*time.Second, 20*time.Millisecond)
}

func TestKillAndOpenKeepAddressAndData(t *testing.T) {
	needApache(t)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	node, err := apache.Start(ctx, kafka.Config{})
	require.NoError(t, err)
	defer node.Stop()
	client, err := kgo.NewClient(kgo.SeedBrokers(node.Brokers()...))
	require.NoError(t, err)
	defer client.Close()
	_, err = kadm.NewClient(client).CreateTopic(ctx, 1, 1, nil, "orders")
	require.NoError(t, err)
	produce := func(value string) {
		t.Helper()
		require.NoError(t, client.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: []byte(value)}).FirstErr())
	}
	produce("before")
	pid, addresses := node.PID(), node.Brokers()

	require.NoError(t, node.Kill())
	require.True(t, gone(pid))
	require.NoError(t, node.Open(ctx))
	require.Equal(t, addresses, node.Brokers())
	produce("after a crash")
	require.NoError(t, node.Shut())
	require.NoError(t, node.Open(ctx))
	produce("after a clean stop")

	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, "orders")
	require.NoError(t, err)
	offset, _ := ends.Lookup("orders", 0)
	require.EqualValues(t, 3, offset.Offset)
}
