package gate

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxFrame bounds a request. A client that speaks TLS to a plain port announces hundreds of megabytes.
const maxFrame = 128 << 20

var (
	errFrame   = errors.New("gate: this is not a Kafka request")
	errDropped = errors.New("gate: connection dropped by a fault")
)

// conn is a client's connection as the broker sees it: Read gives its requests, with what a fault
// withholds taken out, and Write takes the answers, one whole frame a call.
type conn struct {
	net.Conn
	listener *Listener
	done     chan struct{}
	once     sync.Once

	// Only the reading side uses these.
	ready []byte // to be read before anything else
	left  int    // bytes of the current frame to pass on as they are
	last  ending // what comes after the current frame

	mu      sync.Mutex
	pending map[int32]*answer // by correlation id
}

// ending is how a connection goes on after a frame.
type ending uint8

const (
	goOn    ending = iota
	discard        // read and throw away: nothing behind this request is carried out
	hangUp
)

// answer is what to do with the answer to a request.
type answer struct {
	key, version int16
	all          bool       // metadata of all topics was asked for
	verdicts     []verdict  // produce
	end          answerKind // produce
}

func newConn(raw net.Conn, l *Listener) *conn {
	return &conn{Conn: raw, listener: l, done: make(chan struct{}), pending: make(map[int32]*answer)}
}

// Close closes the connection. It may be called more than once.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		close(c.done)
		// Shut closes connections while it holds the listener's lock.
		go c.listener.forget(c)
	})
	return err
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	for {
		switch {
		case len(c.ready) > 0:
			n := copy(p, c.ready)
			c.ready = c.ready[n:]
			return n, nil
		case c.left > 0:
			n, err := c.Conn.Read(p[:min(len(p), c.left)])
			c.left -= n
			return n, err
		case c.last == discard:
			_, _ = io.Copy(io.Discard, c.Conn)
			return 0, io.EOF
		case c.last == hangUp:
			_ = c.Close()
			return 0, io.EOF
		}
		if err := c.next(); err != nil {
			return 0, err
		}
	}
}

// next reads the head of the next frame, and the whole of it when a fault may concern it.
func (c *conn) next() error {
	head := make([]byte, 12) // size, key, version, correlation id
	if _, err := io.ReadFull(c.Conn, head); err != nil {
		return err
	}
	size := int(binary.BigEndian.Uint32(head))
	if size < 8 || size > maxFrame {
		return errFrame
	}
	key := kmsg.Key(binary.BigEndian.Uint16(head[4:]))
	answer := &answer{key: key.Int16(), version: int16(binary.BigEndian.Uint16(head[6:]))}
	gate := c.listener.gate
	var whole bool
	switch key {
	case kmsg.Produce:
		gate.requests.Add(1)
		whole = gate.produce.Load() != nil || gate.denies()
	case kmsg.Metadata:
		whole = gate.denies()
	case kmsg.ApiVersions:
	default:
		answer = nil
	}
	c.ready, c.left = head, size-8
	if whole {
		body := make([]byte, c.left)
		if _, err := io.ReadFull(c.Conn, body); err != nil {
			return err
		}
		c.left = 0
		rewritten, err := c.take(answer, slices.Concat(head, body))
		if err != nil {
			return err
		}
		c.ready = rewritten
	}
	if answer != nil && answer.end != noAnswer {
		c.mu.Lock()
		c.pending[int32(binary.BigEndian.Uint32(head[8:]))] = answer
		c.mu.Unlock()
	}
	return nil
}

// Write implements net.Conn. Each call must hold exactly one frame.
func (c *conn) Write(frame []byte) (int, error) {
	answer := c.answerTo(frame)
	if answer == nil {
		return c.Conn.Write(frame)
	}
	if answer.key == kmsg.Produce.Int16() {
		if !c.wait(time.Duration(c.listener.gate.latency.Load())) {
			return 0, net.ErrClosed
		}
		switch answer.end {
		case answered, noAnswer:
		case dropped:
			_ = c.Close()
			return 0, errDropped
		case hung:
			return len(frame), nil
		}
	}
	rewritten, err := c.give(answer, frame)
	if err != nil {
		return 0, err
	}
	if _, err := c.Conn.Write(rewritten); err != nil {
		return 0, err
	}
	return len(frame), nil
}

func (c *conn) answerTo(frame []byte) *answer {
	if len(frame) < 8 {
		return nil
	}
	id := int32(binary.BigEndian.Uint32(frame[4:]))
	c.mu.Lock()
	defer c.mu.Unlock()
	answer := c.pending[id]
	delete(c.pending, id)
	return answer
}

// wait waits for d, or until the connection is closed, of which it returns false.
func (c *conn) wait(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.done:
		return false
	}
}
