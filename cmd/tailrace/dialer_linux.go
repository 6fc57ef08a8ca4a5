package main

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// endAfter has the system end a connection when what was sent is not acknowledged for so long. That is what keep-alive
// leaves out: no probe is sent while something else waits to be acknowledged.
func endAfter(silence time.Duration) func(ctx context.Context, network, address string, raw syscall.RawConn) error {
	return func(_ context.Context, network, _ string, raw syscall.RawConn) (err error) {
		if !strings.HasPrefix(network, "tcp") {
			return nil
		}
		controlErr := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence.Milliseconds()))
		})
		if controlErr != nil {
			return controlErr
		}
		if err != nil {
			return fmt.Errorf("set TCP_USER_TIMEOUT: %w", err)
		}
		return nil
	}
}
