package main

import (
	"context"
	"net"
	"time"
)

// mostSilence is for how long the other end of a connection may acknowledge nothing before the connection ends. The
// other end is the machine, not the server on it: a server may take as long as it likes to answer.
//
// Without a bound, one that a firewall forgot, or whose machine is gone, is waited for as long as the system resends,
// a quarter of an hour on Linux, and what was claimed over it with it.
const mostSilence = 15 * time.Second

// dialer makes connections that end when the other end is silent. It is a pq.Dialer.
type dialer struct{ net.Dialer }

func newDialer(silence time.Duration) *dialer {
	return &dialer{net.Dialer{
		// What is idle is probed, so that it has something to acknowledge: a silent end is found at the third time.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: silence / 3, Interval: silence / 3, Count: 2},
		ControlContext:  endAfter(silence),
	}}
}

func (d *dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}
