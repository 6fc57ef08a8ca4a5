package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tailrace-go/tailrace/bus/connect"
)

// networkVariable says that the test has a network of its own.
const networkVariable = "TAILRACE_TEST_OWN_NETWORK"

// TestSilentConnectionEnds: packets of open connections vanish, as in a firewall that has forgotten them. Both ends'
// connections stay open, and neither hears of the other.
func TestSilentConnectionEnds(t *testing.T) {
	t.Parallel()
	if os.Getenv(networkVariable) == "" {
		again := exec.Command(os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$")
		again.Env = append(os.Environ(), networkVariable+"=1")
		again.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		}
		output, err := again.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) || bytes.Contains(output, []byte("--- SKIP")) {
			t.Skipf("this system lets us have no network of our own: %v\n%s", err, output)
		}
		t.Logf("%s", output)
		require.NoError(t, err)
		return
	}
	const silence = time.Second
	loopback(t, true)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	dial := func() (client, server net.Conn) {
		client, err := newDialer(silence).Dial("tcp", listener.Addr().String())
		require.NoError(t, err)
		server, err = listener.Accept()
		require.NoError(t, err)
		t.Cleanup(func() { _, _ = client.Close(), server.Close() })
		return client, server
	}
	read := func(c net.Conn) error {
		require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
		_, err := c.Read(make([]byte, 1))
		return err
	}
	idle, _ := dial()
	asking, server := dial()

	// A server that takes its time is waited for.
	_, err = io.WriteString(asking, "?")
	require.NoError(t, err)
	time.AfterFunc(2*silence, func() { _, _ = io.WriteString(server, "!") })
	require.NoError(t, read(asking))

	loopback(t, false)
	began := time.Now()
	_, err = io.WriteString(asking, "?")
	require.NoError(t, err)
	for name, c := range map[string]net.Conn{"asking": asking, "idle": idle} {
		err := read(c)
		t.Logf("%s: %v after %s", name, err, time.Since(began).Round(time.Millisecond))
		require.Error(t, err)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	}
}

// loopback ends, or lets begin, that packets arrive.
func loopback(t *testing.T, arrive bool) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	device, err := unix.NewIfreq("lo")
	require.NoError(t, err)
	flags := uint16(0)
	if arrive {
		flags = unix.IFF_UP
	}
	device.SetUint16(flags)
	err = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, device)
	if errors.Is(err, unix.EPERM) {
		t.Skip(err)
	}
	require.NoError(t, err)
}

// TestDatabaseConnectionsEndWhenSilent: those of openDatabase are made so.
func TestDatabaseConnectionsEndWhenSilent(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	at := listener.Addr().(*net.TCPAddr)
	db, err := openDatabase(connect.DSN("postgres://app@"+at.String()+"/app?sslmode=disable"), 1)
	require.NoError(t, err)
	defer db.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- db.PingContext(ctx) }()
	server, err := listener.Accept()
	require.NoError(t, err)
	_, err = server.Read(make([]byte, 1)) // It says something once it is as it is to be.
	require.NoError(t, err)

	client := descriptor(t, server.RemoteAddr().(*net.TCPAddr).Port, at.Port)
	for option, want := range map[int]int{
		unix.TCP_USER_TIMEOUT: int(mostSilence.Milliseconds()),
		unix.TCP_KEEPIDLE:     int(mostSilence.Seconds()) / 3,
		unix.TCP_KEEPINTVL:    int(mostSilence.Seconds()) / 3,
		unix.TCP_KEEPCNT:      2,
	} {
		got, err := unix.GetsockoptInt(client, unix.IPPROTO_TCP, option)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	require.NoError(t, server.Close())
	require.Error(t, <-done)
}

// descriptor finds this process's connection from a port of this machine to another.
func descriptor(t *testing.T, from, to int) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, entry := range open {
		fd, err := strconv.Atoi(entry.Name())
		require.NoError(t, err)
		here, _ := unix.Getsockname(fd)
		there, _ := unix.Getpeername(fd)
		local, isLocal := here.(*unix.SockaddrInet4)
		remote, isRemote := there.(*unix.SockaddrInet4)
		if isLocal && isRemote && local.Port == from && remote.Port == to {
			return fd
		}
	}
	t.Fatal("there is no such connection")
	return 0
}
