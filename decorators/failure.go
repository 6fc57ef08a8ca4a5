package decorators

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// failure is how a call ended that did not succeed.
type failure struct {
	// err is the call's; without one, the others are set.
	err                error
	typ, code, message string
}

func panicked(value any) failure {
	if err, ok := value.(error); ok {
		f := failure{err: err}.described()
		return failure{typ: "panic", code: f.code, message: "panic: " + f.message}
	}
	return failure{typ: "panic", message: fmt.Sprintf("panic: %v", value)}
}

// described fills in what the error says of itself.
func (f failure) described() failure {
	if f.err == nil {
		return f
	}
	f.typ = says(fmt.Sprintf("%T", f.err), func() string { return errorType(f.err) })
	f.code = says("", func() string { return errorCode(f.err) })
	f.message = says("", f.err.Error)
	return f
}

// says asks an error for something. One that is a nil pointer may be no more than its type, and panic.
func says(otherwise string, ask func() string) (answer string) {
	defer func() {
		if recover() != nil {
			answer = otherwise
		}
	}()
	return ask()
}

// errorType is the type of the first error that is not a mere wrapping of another.
func errorType(err error) string {
	for {
		name := fmt.Sprintf("%T", err)
		inner := errors.Unwrap(err)
		if inner == nil || !strings.HasPrefix(name, "*fmt.") {
			return name
		}
		err = inner
	}
}

// errorCode is the code that the error offers, or one it wraps: by Code() string, or by SQLState() string,
// as the drivers of PostgreSQL have it.
func errorCode(err error) string {
	var (
		coded interface{ Code() string }
		sql   interface{ SQLState() string }
		code  string
	)
	if errors.As(err, &coded) {
		code = coded.Code()
	}
	if code == "" && errors.As(err, &sql) {
		code = sql.SQLState()
	}
	return code
}

// orType is the code, or else the type.
func (f failure) orType() string { return cmp.Or(f.code, f.typ) }
