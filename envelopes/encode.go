package envelopes

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// Encode returns the event's envelope as JSON, in one pass: the fields in the order of the wire format,
// every one of them present, <, > and & as they are. The error lists all that is wrong with the event,
// joined, and wraps [ErrInvalid].
func Encode(event Event) ([]byte, error) {
	metadata := event.Meta()
	return EncodeWith(&metadata, event)
}

// EncodeWith is [Encode] with this metadata in place of the event's own.
func EncodeWith(metadata *Metadata, event Event) ([]byte, error) {
	e := encoders.Get().(*encoder)
	defer e.release()

	description := event.Describe()
	metadata.encode(e, description.Priority)
	e.raw(`,"event_type":`)
	e.str(description.EventType)
	e.raw(`,"payload":`)
	event.encode(e)
	e.raw(`}`)
	if len(e.faults) > 0 {
		return nil, joined(e.faults)
	}
	return bytes.Clone(e.buf), nil
}

func joined(faults []error) error {
	if len(faults) == 1 {
		return faults[0]
	}
	return errors.Join(faults...)
}

// encoder appends JSON to buf and collects faults. What has a fixed shape is appended by hand; values of
// the caller's types go through encoding/json, which writes into the same buffer.
type encoder struct {
	buf    []byte
	json   *json.Encoder
	faults []error
	keys   []string
}

var encoders = sync.Pool{New: func() any {
	e := &encoder{buf: make([]byte, 0, 2048)}
	e.json = json.NewEncoder(e)
	e.json.SetEscapeHTML(false)
	return e
}}

func (e *encoder) release() {
	// One huge event must not pin its buffer for the life of the process.
	const most = 64 << 10
	if cap(e.buf) > most {
		return
	}
	clear(e.keys)
	e.buf, e.faults, e.keys = e.buf[:0], nil, e.keys[:0]
	encoders.Put(e)
}

// Write appends what encoding/json made.
func (e *encoder) Write(p []byte) (int, error) {
	e.buf = append(e.buf, p...)
	return len(p), nil
}

func (e *encoder) fault(field, problem string) {
	e.faults = append(e.faults, &FieldError{Field: field, Problem: problem})
}

func (e *encoder) required(field, value string) {
	if value == "" {
		e.fault(field, "is missing")
	}
}

// printable refuses what CloudEvents does not allow in an attribute that has to stand in a header as it is.
func (e *encoder) printable(field, value string) {
	if !utf8.ValidString(value) {
		e.fault(field, "is not UTF-8")
		return
	}
	for _, c := range value {
		if disallowed(c) {
			e.fault(field, "has a control character")
			return
		}
	}
}

// disallowed tells the characters that a CloudEvents String must not have (CloudEvents 1.0, Type System).
func disallowed(c rune) bool {
	return unicode.IsControl(c) || c&0xfffe == 0xfffe || c >= 0xfdd0 && c <= 0xfdef
}

func (e *encoder) raw(s string) { e.buf = append(e.buf, s...) }

func (e *encoder) str(s string) { e.buf = appendString(e.buf, s) }

func (e *encoder) nullable(s string) {
	if s == "" {
		e.raw("null")
		return
	}
	e.str(s)
}

func (e *encoder) bool(v bool) { e.buf = strconv.AppendBool(e.buf, v) }

func (e *encoder) int(v int) { e.buf = strconv.AppendInt(e.buf, int64(v), 10) }

// timeLayout is RFC 3339 with microseconds and, as the older consumers' language writes and reads it, an
// offset in place of Z.
const timeLayout = "2006-01-02T15:04:05.000000-07:00"

func (e *encoder) time(field string, t time.Time) {
	if t.IsZero() {
		e.raw("null")
		return
	}
	t = t.UTC()
	if year := t.Year(); year < 0 || year > 9999 {
		e.fault(field, "is outside the years 0 to 9999 of RFC 3339")
	}
	e.buf = append(e.buf, '"')
	e.buf = t.AppendFormat(e.buf, timeLayout)
	e.buf = append(e.buf, '"')
}

// stringMap writes the map with its keys sorted, so that one event has one encoding.
func (e *encoder) stringMap(m map[string]string) {
	keys := e.keys[:0]
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	e.raw("{")
	for i, key := range keys {
		if i > 0 {
			e.raw(",")
		}
		e.str(key)
		e.raw(":")
		e.str(m[key])
	}
	e.raw("}")
	e.keys = keys
}

// object writes a value that must be a JSON object; nothing is {}.
func (e *encoder) object(field string, value any) {
	start := len(e.buf)
	if !e.value(field, value) {
		return
	}
	switch {
	case e.buf[start] == '{':
	case string(e.buf[start:]) == "null":
		e.buf = append(e.buf[:start], "{}"...)
	default:
		e.fault(field, "is "+kindOf(e.buf[start])+": give it something that encodes as a JSON object")
	}
}

// value writes any value; nothing is null.
func (e *encoder) value(field string, value any) bool {
	switch v := value.(type) {
	case nil:
		e.raw("null")
		return true
	case json.RawMessage:
		if len(v) == 0 {
			e.raw("null")
			return true
		}
	}
	if err := e.json.Encode(value); err != nil {
		e.faults = append(e.faults, marshalFault(field, err))
		return false
	}
	// Encode ends with a newline.
	e.buf = e.buf[:len(e.buf)-1]
	return true
}

func appendStrings[S ~string](e *encoder, values []S) {
	e.raw("[")
	for i, value := range values {
		if i > 0 {
			e.raw(",")
		}
		e.str(string(value))
	}
	e.raw("]")
}

// marshalFault says why encoding/json refused a value, without what its text may quote of it.
func marshalFault(field string, err error) error {
	fault := &FieldError{Field: field, Problem: "cannot be encoded as JSON", cause: err}
	var (
		value *json.UnsupportedValueError
		typ   *json.UnsupportedTypeError
		own   *json.MarshalerError
	)
	switch {
	case errors.As(err, &value):
		switch value.Value.Kind() {
		case reflect.Float32, reflect.Float64:
			fault.Problem = "has " + value.Str + ", which is not JSON: use null or a string"
		default:
			fault.Problem = "refers to itself, which cannot be encoded as JSON"
		}
	case errors.As(err, &typ):
		fault.Problem = "has a value of type " + typ.Type.String() + ", which cannot be encoded as JSON"
	case errors.As(err, &own):
		if own.Type == reflect.TypeFor[json.RawMessage]() {
			fault.Problem = "is a json.RawMessage that is not JSON"
		} else {
			fault.Problem = "has a value of type " + own.Type.String() + " whose own JSON encoding failed"
		}
	}
	return fault
}
