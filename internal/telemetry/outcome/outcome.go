// Package outcome says how publishing ended, in the words of the label outcome and of the attribute
// error.type. It knows the sentinels of the rooms that telemetry does not.
package outcome

import (
	"database/sql"
	"errors"

	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/internal/telemetry"
	"github.com/tailrace-go/tailrace/topics"
)

// The values of the label.
const (
	OK        = "ok"
	Invalid   = "invalid"   // the event or the message itself can never be published
	Duplicate = "duplicate" // it is in the outbox already
	Canceled  = "canceled"  // the caller wanted it no more
	Timeout   = "timeout"   // a deadline passed, the caller's or the publisher's
	Failed    = "error"
)

// ErrorType is the error.type of a publish that failed: "invalid", "duplicate", "transaction_done", or what
// telemetry.ErrorType makes of it; "" for no error.
func ErrorType(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, envelopes.ErrInvalid), errors.Is(err, topics.ErrInvalid), errors.Is(err, outbox.ErrMessage):
		return Invalid
	case errors.Is(err, outbox.ErrDuplicate):
		return Duplicate
	case errors.Is(err, sql.ErrTxDone):
		return "transaction_done"
	}
	return telemetry.ErrorType(err)
}

// Of is the label's value.
func Of(err error) string {
	switch class := ErrorType(err); class {
	case "":
		return OK
	case Invalid, Duplicate:
		return class
	case "canceled":
		return Canceled
	case "deadline_exceeded":
		return Timeout
	}
	return Failed
}
