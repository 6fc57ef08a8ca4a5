package telemetry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// End ends the span, and before that says why it failed if err is not nil. Class is the error.type; empty
// stands for [ErrorType] of err.
func End(span trace.Span, err error, class string) {
	Fail(span, err, class)
	span.End()
}

// Fail sets the span's status and error.type if err is not nil. The description is the error's text, which by
// house rule holds no payload and no secret.
func Fail(span trace.Span, err error, class string) {
	if err == nil || !span.IsRecording() {
		return
	}
	span.SetAttributes(semconv.ErrorTypeKey.String(cmp.Or(class, ErrorType(err))))
	span.SetStatus(codes.Error, text(err.Error()))
}

// ErrPanicked stands for the error of what panicked, or ended its goroutine, while its span was open.
var ErrPanicked error = panicked{}

type panicked struct{}

func (panicked) Error() string { return "it panicked, or ended its goroutine" }

// ErrorType is the error.type attribute.
func (panicked) ErrorType() string { return "panic" }

// ErrorType returns a word of low cardinality for an error, as the error.type attribute asks for:
// "canceled", "deadline_exceeded", what an error in the chain says with a method ErrorType() string, or the
// type of the first one that is more than a text or a wrapper, "*pq.Error" for instance; "_OTHER" when there
// is none.
func ErrorType(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "deadline_exceeded"
	}
	if said, ok := errors.AsType[interface {
		error
		ErrorType() string
	}](err); ok {
		return said.ErrorType()
	}
	return cmp.Or(typeOf(err), semconv.ErrorTypeOther.Value.AsString())
}

// typeOf looks through the wrappers of fmt and errors, which say nothing about what failed.
func typeOf(err error) string {
	if name := fmt.Sprintf("%T", err); !strings.HasPrefix(name, "*fmt.") && !strings.HasPrefix(name, "*errors.") {
		return name
	}
	switch wrapper := err.(type) { //nolint:errorlint // the chain is walked step by step
	case interface{ Unwrap() error }:
		if inner := wrapper.Unwrap(); inner != nil {
			return typeOf(inner)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range wrapper.Unwrap() {
			if name := typeOf(inner); name != "" {
				return name
			}
		}
	}
	return ""
}
