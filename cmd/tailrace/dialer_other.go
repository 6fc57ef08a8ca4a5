//go:build !linux

package main

import (
	"context"
	"syscall"
	"time"
)

// endAfter: there is keep-alive only. What was sent and not acknowledged is resent for as long as the system likes.
func endAfter(time.Duration) func(ctx context.Context, network, address string, raw syscall.RawConn) error {
	return nil
}
