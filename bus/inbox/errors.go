package inbox

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/tailrace-go/tailrace/internal/pgtable"
)

var (
	// ErrConfig is wrapped by every mistake in a [Config].
	ErrConfig = errors.New("inbox: invalid configuration")
	// ErrNoID: a message has no event id by which it could be known again. It is permanent.
	ErrNoID = errors.New("inbox: no usable event id")
	// ErrNoTable: the inbox table is not there.
	ErrNoTable = errors.New("inbox: the table does not exist")
	// ErrShape: there is a table of that name which is no inbox.
	ErrShape = errors.New("inbox: the table's shape does not fit")
	// ErrServer: the server is too old or is in recovery.
	ErrServer = errors.New("inbox: the server cannot hold an inbox")
	// ErrUnknown: the connection was lost while the transaction was being committed, so nobody here
	// knows whether it was. The next delivery finds out.
	ErrUnknown = errors.New("inbox: the commit's outcome is unknown")
	// ErrEnded: the handler committed or rolled back the transaction, which is the inbox's to end.
	ErrEnded = errors.New("inbox: the handler ended the transaction")
)

// explainMark says what a failed INSERT of the mark means and what to do about it.
func explainMark(ctx context.Context, t table, err error) error {
	switch pgtable.SQLState(err) {
	case pgtable.UndefinedTable:
		return fmt.Errorf("%w: %w", noTable(t), err)
	case pgtable.UndefinedColumn, "42P10": // no unique index for ON CONFLICT
		return fmt.Errorf("%w: inbox.Check says what %s lacks: %w", ErrShape, t.Quoted(), err)
	}
	return pgtable.WithContext(ctx, fmt.Errorf("inbox: write to %s: %w", t.Quoted(), err))
}

// unstorable reports whether the server refused the id itself: class 22 is "data exception", for
// instance a character that the database's encoding does not have.
func unstorable(err error) bool {
	state := pgtable.SQLState(err)
	return len(state) == 5 && state[:2] == "22"
}

// isOutage reports whether the database says that it, not the message, is the reason: the connection is
// gone, the server is stopping, full, read-only or short of something (SQLSTATE classes 08, 53, 57, 58 and
// 25006), or another transaction was in the way (40001, 40P01).
func isOutage(err error) bool {
	state := pgtable.SQLState(err)
	switch {
	case state == pgtable.SerializationFailure, state == pgtable.Deadlock, state == "25006":
		return true
	case state == pgtable.QueryCanceled:
		return false // A timeout or a cancellation, which its context tells more of.
	case len(state) == 5:
		switch state[:2] {
		case "08", "53", "57", "58":
			return true
		}
		return false
	}
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone)
}

// isLost reports whether the connection broke or was ended by the server. It is for what the driver itself
// returns: in a handler's error, io.EOF could be anything's.
func isLost(err error) bool {
	if state := pgtable.SQLState(err); state != "" {
		return strings.HasPrefix(state, "08") || strings.HasPrefix(state, "57P")
	}
	var op *net.OpError
	for _, lost := range []error{driver.ErrBadConn, sql.ErrConnDone, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed} {
		if errors.Is(err, lost) {
			return true
		}
	}
	return errors.As(err, &op)
}
