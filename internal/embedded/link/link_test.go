package link_test

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/internal/embedded/link"
)

// TestLink carries, hangs with its connections open, goes on where it hung, and cuts.
func TestLink(t *testing.T) {
	t.Parallel()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer server.Close()
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	l, dsn, err := link.OpenURL("postgres://user:word@" + server.Addr().String() + "/db?sslmode=disable")
	require.NoError(t, err)
	defer l.Close()
	require.Equal(t, "postgres://user:word@"+l.Address()+"/db?sslmode=disable", dsn)
	_, _, err = link.OpenURL("host=/tmp dbname=db")
	require.Error(t, err)

	dial := func() (net.Conn, *bufio.Reader) {
		c, err := net.Dial("tcp", l.Address())
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		return c, bufio.NewReader(c)
	}
	say := func(c net.Conn, text string) {
		_, err := io.WriteString(c, text+"\n")
		require.NoError(t, err)
	}
	hear := func(r *bufio.Reader, text string) {
		t.Helper()
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, text+"\n", line)
	}
	first, answers := dial()
	say(first, "one")
	hear(answers, "one")

	l.Hang()
	say(first, "two")
	second, more := dial()
	say(second, "three")
	for _, c := range []net.Conn{first, second} {
		require.NoError(t, c.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
		_, err := c.Read(make([]byte, 1))
		var silent net.Error
		require.ErrorAs(t, err, &silent)
		require.True(t, silent.Timeout())
		require.NoError(t, c.SetReadDeadline(time.Time{}))
	}
	l.Mend()
	hear(answers, "two")
	hear(more, "three")

	l.Cut()
	for _, r := range []*bufio.Reader{answers, more} {
		_, err := r.ReadByte()
		require.Error(t, err)
	}
	third, refused := dial()
	_, err = refused.ReadByte()
	require.Error(t, err)
	require.NoError(t, third.Close())
	l.Mend()
	fourth, again := dial()
	say(fourth, "four")
	hear(again, "four")
}
