package inbox_test

import (
	"bytes"
	"context"
	"database/sql/driver"
	"net"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"
)

// cutAtCommit returns a connector whose connections break when they commit: after the server did, or
// before it heard of it.
func cutAtCommit(t testing.TB, dsn string, committed bool) driver.Connector {
	t.Helper()
	connector, err := pq.NewConnector(dsn)
	require.NoError(t, err)
	connector.Dialer(cutter{committed: committed})
	return connector
}

type cutter struct {
	net.Dialer

	committed bool
}

func (c cutter) Dial(network, address string) (net.Conn, error) {
	return c.DialContext(context.Background(), network, address)
}

func (c cutter) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return c.DialContext(ctx, network, address)
}

func (c cutter) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.Dialer.DialContext(ctx, network, address)
	return &cutConn{Conn: conn, committed: c.committed}, err
}

type cutConn struct {
	net.Conn

	committed bool
}

// Write breaks the connection when the statement is COMMIT.
func (c *cutConn) Write(p []byte) (int, error) {
	if !bytes.Contains(p, []byte("COMMIT\x00")) {
		return c.Conn.Write(p)
	}
	if !c.committed {
		_ = c.Close()
		return len(p), nil
	}
	n, err := c.Conn.Write(p)
	if err != nil {
		return n, err
	}
	// The answer comes when the server has committed, and is lost.
	if _, err := c.Read(make([]byte, 64)); err != nil {
		return n, err
	}
	return n, c.Close()
}
