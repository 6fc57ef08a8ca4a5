package envelopes

import "errors"

// ErrInvalid is wrapped by every error about an event that can never be published or decoded as it is:
// a missing or wrong field, bad JSON. Trying again does not help.
var ErrInvalid = errors.New("envelopes: invalid event")

// FieldError says what is wrong with one field. It never holds the field's content. Several are joined
// by errors.Join.
type FieldError struct {
	// Field is the path in the envelope, for instance "payload.action"; empty for the envelope itself.
	Field string
	// Problem is what is wrong with it, and what would be right.
	Problem string

	cause error
}

// Error returns the field and its problem.
func (e *FieldError) Error() string {
	if e.Field == "" {
		return "envelopes: the event " + e.Problem
	}
	return "envelopes: " + e.Field + " " + e.Problem
}

// Unwrap returns [ErrInvalid] and, when there is one, the error of the caller's own MarshalJSON or
// UnmarshalJSON, whose text is not in Error because it may quote content.
func (e *FieldError) Unwrap() []error {
	if e.cause == nil {
		return []error{ErrInvalid}
	}
	return []error{ErrInvalid, e.cause}
}
