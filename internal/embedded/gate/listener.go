package gate

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"
)

// Listener is the address of one broker. It implements net.Listener for the broker behind it: Accept
// returns the clients' connections, with the gate's faults applied, for as long as the listener lives,
// across [Listener.Shut] and [Listener.Open].
type Listener struct {
	gate *Gate
	tls  *tls.Config
	addr net.Addr

	accepted chan net.Conn
	closed   chan struct{}

	mu    sync.Mutex
	inner net.Listener // nil while shut
	conns map[net.Conn]struct{}
}

// Listen opens a listener on a port of the loopback, 0 being any free one. A TLS configuration makes clients speak TLS;
// the broker behind gets plain text.
func (g *Gate) Listen(port int, config *tls.Config) (*Listener, error) {
	inner, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	l := &Listener{
		gate: g, tls: config, addr: inner.Addr(), inner: inner,
		accepted: make(chan net.Conn), closed: make(chan struct{}), conns: make(map[net.Conn]struct{}),
	}
	go l.accept(inner)
	return l, nil
}

// Addr is the address clients connect to. It never changes.
func (l *Listener) Addr() net.Addr { return l.addr }

// Accept returns the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.accepted:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Dial connects to the broker behind the gate, past its faults, whether it is shut or not.
func (l *Listener) Dial(ctx context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.accepted <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Shut breaks every client's connection and refuses new ones, as a broker that is gone does.
func (l *Listener) Shut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inner == nil {
		return
	}
	_ = l.inner.Close()
	l.inner = nil
	for conn := range l.conns {
		_ = conn.Close()
	}
	clear(l.conns)
}

// Open accepts clients again after [Listener.Shut], on the same port.
func (l *Listener) Open() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inner != nil {
		return nil
	}
	// The port may for a moment be the source port of somebody's outgoing connection.
	var err error
	for range 100 {
		var inner net.Listener
		if inner, err = net.Listen("tcp", l.addr.String()); err == nil {
			l.inner = inner
			go l.accept(inner)
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("take port %s again: %w", l.addr, err)
}

// Close shuts the listener for good.
func (l *Listener) Close() error {
	l.Shut()
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func (l *Listener) accept(inner net.Listener) {
	for {
		raw, err := inner.Accept()
		if err != nil {
			return
		}
		if l.tls != nil {
			raw = tls.Server(raw, l.tls)
		}
		conn := newConn(raw, l)
		l.mu.Lock()
		if l.inner != inner {
			l.mu.Unlock()
			_ = raw.Close()
			return
		}
		l.conns[conn] = struct{}{}
		l.mu.Unlock()
		select {
		case l.accepted <- conn:
		case <-l.closed:
			_ = raw.Close()
			return
		}
	}
}

func (l *Listener) forget(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, conn)
}
