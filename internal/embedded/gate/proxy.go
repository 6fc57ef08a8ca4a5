package gate

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
)

// Proxy carries the connections of clients to a broker at the address, until the listener is closed. It
// is for a broker that cannot accept them itself, being another process.
func (l *Listener) Proxy(address string) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		go carry(client, address)
	}
}

func carry(client net.Conn, address string) {
	defer client.Close()
	broker, err := new(net.Dialer).DialContext(context.Background(), "tcp", address)
	if err != nil {
		return
	}
	defer broker.Close()
	var group sync.WaitGroup
	group.Go(func() {
		defer broker.Close()
		_, _ = io.Copy(onlyWriter{broker}, onlyReader{client})
	})
	group.Go(func() {
		defer client.Close()
		defer broker.Close()
		answers(client, broker)
	})
	group.Wait()
}

// answers hands the broker's answers to the client, a frame a call.
func answers(client, broker net.Conn) {
	var frame []byte
	for {
		var size [4]byte
		if _, err := io.ReadFull(broker, size[:]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint32(size[:]))
		if n > maxFrame {
			return
		}
		if cap(frame) < n+4 {
			frame = make([]byte, n+4)
		}
		frame = frame[:n+4]
		copy(frame, size[:])
		if _, err := io.ReadFull(broker, frame[4:]); err != nil {
			return
		}
		if _, err := client.Write(frame); err != nil {
			return
		}
	}
}

// onlyReader and onlyWriter keep io.Copy from going around the connection's own Read.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)
