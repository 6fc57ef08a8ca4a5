package main_test

import (
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// link is the way to a database through a machine between, which can forget its connections, as a firewall does
// or a host that was paused: then neither side hears of the other any more, not even of its end.
type link struct {
	address string // of the server
	silent  atomic.Bool
	ends    sync.WaitGroup

	mu     sync.Mutex
	closed bool
	open   []net.Conn
}

// through returns the link to the server of a DSN, and the DSN of the same database through it.
func through(t testing.TB, dsn string) (*link, string) {
	t.Helper()
	where, err := url.Parse(dsn)
	require.NoError(t, err)
	l := &link{address: where.Host}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	where.Host = listener.Addr().String()
	l.ends.Go(func() {
		for conn, err := listener.Accept(); err == nil; conn, err = listener.Accept() {
			l.connect(conn)
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		l.close()
		l.ends.Wait()
	})
	return l, where.String()
}

func (l *link) connect(client net.Conn) {
	l.keep(client)
	server, err := net.Dial("tcp", l.address)
	if err != nil {
		_ = client.Close()
		return
	}
	l.keep(server)
	l.ends.Go(func() { l.pass(client, server) })
	l.ends.Go(func() { l.pass(server, client) })
}

// keep notes a connection that is to be closed at the end.
func (l *link) keep(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = append(l.open, conn)
	if l.closed {
		_ = conn.Close()
	}
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, conn := range l.open {
		_ = conn.Close()
	}
}

// pass passes on what comes, and that it ended, until the link is silent.
func (l *link) pass(from, to net.Conn) {
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		if l.silent.Load() {
			return
		}
		if n > 0 {
			_, _ = to.Write(buffer[:n])
		}
		if err != nil {
			_ = to.Close()
			return
		}
	}
}
