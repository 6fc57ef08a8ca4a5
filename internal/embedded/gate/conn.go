package gate

import (
	"net"
	"sync"
)

type conn struct {
	net.Conn
	listener *Listener
	once     sync.Once
}

func newConn(raw net.Conn, l *Listener) *conn { return &conn{Conn: raw, listener: l} }

func (c *conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { go c.listener.forget(c) })
	return err
}
