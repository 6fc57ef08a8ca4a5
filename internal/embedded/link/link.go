// Package link carries connections to a server, and cuts them or lets them hang: the network between a client and
// a server that itself is fine.
package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
)

// Link is a way to a server. It is safe for concurrent use.
type Link struct {
	target   string
	listener net.Listener

	mu      sync.Mutex
	changed *sync.Cond
	hung    bool
	cut     bool
	ends    map[net.Conn]struct{}
}

// Open listens on this machine and carries what connects to the server at the address, host:port.
func Open(target string) (*Link, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	l := &Link{target: target, listener: listener, ends: map[net.Conn]struct{}{}}
	l.changed = sync.NewCond(&l.mu)
	go l.accept()
	return l, nil
}

// OpenURL is Open to the server of a connection string that is a URL. It returns the string with the link in it.
func OpenURL(dsn string) (*Link, string, error) {
	u, err := url.Parse(dsn)
	if err != nil || u.Host == "" {
		return nil, "", errors.New("link: the connection string is no URL")
	}
	l, err := Open(u.Host)
	if err != nil {
		return nil, "", err
	}
	u.Host = l.Address()
	return l, u.String(), nil
}

// Address is where the link listens.
func (l *Link) Address() string { return l.listener.Addr().String() }

// Hang has nothing arrive any more, in either direction. Connections stay open, and new ones can be made.
func (l *Link) Hang() { l.set(true, false) }

// Cut breaks all connections, and each new one.
func (l *Link) Cut() { l.set(false, true) }

// Mend has everything pass again, what hung included.
func (l *Link) Mend() { l.set(false, false) }

// Close ends the link and its connections.
func (l *Link) Close() error {
	l.Cut()
	return l.listener.Close()
}

func (l *Link) set(hung, cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hung, l.cut = hung, cut
	if cut {
		for c := range l.ends {
			_ = c.Close()
		}
	}
	l.changed.Broadcast()
}

// pass waits while the link hangs, and reports whether it is whole then.
func (l *Link) pass() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.hung {
		l.changed.Wait()
	}
	return !l.cut
}

func (l *Link) accept() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		go l.carry(client)
	}
}

func (l *Link) carry(client net.Conn) {
	defer l.hold(client)()
	if !l.pass() {
		return
	}
	server, err := new(net.Dialer).DialContext(context.Background(), "tcp", l.target)
	if err != nil {
		return
	}
	defer l.hold(server)()
	var group sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		group.Go(func() {
			defer way[1].Close()
			l.copy(way[1], way[0])
		})
	}
	group.Wait()
}

// hold has an end closed by a cut until the returned function closes it.
func (l *Link) hold(c net.Conn) (drop func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ends[c] = struct{}{}
	if l.cut {
		_ = c.Close()
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.ends, c)
		_ = c.Close()
	}
}

func (l *Link) copy(to io.Writer, from io.Reader) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if !l.pass() {
			return
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
