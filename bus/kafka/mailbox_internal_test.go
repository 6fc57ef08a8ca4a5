package kafka

import (
	"encoding/binary"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/deadletter"
)

// TestASilentBrokerIsNoEnd: a broker that takes longer than QuietTime for the first fetch, as one that throttles
// the client does, is not one that has no records.
func TestASilentBrokerIsNoEnd(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "letters", 1, nil)
	config := Config{Brokers: broker.Brokers()}
	publisher, err := NewPublisher(PublisherConfig{Sender: SenderConfig{Config: config}})
	require.NoError(t, err)
	require.NoError(t, publisher.Publish("letters", message.NewMessage("1", nil)))
	require.NoError(t, publisher.Close())

	mailbox, err := NewMailbox(MailboxConfig{Config: config, Topic: "letters", QuietTime: 20 * time.Millisecond})
	require.NoError(t, err)
	slow := &slowDialer{dialer: mailbox.settings.Net.Proxy.Dialer, delay: 300 * time.Millisecond}
	mailbox.settings.Net.Proxy.Dialer = slow
	defer mailbox.Close()
	read := 0
	require.NoError(t, mailbox.Read(t.Context(), 0, 0, 1, func(deadletter.Record) error { read++; return nil }))
	require.Equal(t, 1, read)
	require.True(t, slow.delayed.Load())
}

// slowDialer delays the answer to the first fetch, and all behind it.
type slowDialer struct {
	dialer interface {
		Dial(network, address string) (net.Conn, error)
	}
	delay   time.Duration
	delayed atomic.Bool
}

func (d *slowDialer) Dial(network, address string) (net.Conn, error) {
	conn, err := d.dialer.Dial(network, address)
	return &slowConn{Conn: conn, dialer: d}, err
}

type slowConn struct {
	net.Conn

	dialer *slowDialer
	until  atomic.Pointer[time.Time]
}

func (c *slowConn) Write(request []byte) (int, error) {
	const fetch = 1 // the api key behind the size
	if len(request) > 6 && binary.BigEndian.Uint16(request[4:]) == fetch && c.dialer.delayed.CompareAndSwap(false, true) {
		until := time.Now().Add(c.dialer.delay)
		c.until.Store(&until)
	}
	return c.Conn.Write(request)
}

func (c *slowConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if until := c.until.Load(); until != nil {
		<-time.After(time.Until(*until))
	}
	return n, err
}
