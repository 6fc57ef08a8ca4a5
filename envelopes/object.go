package envelopes

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tailrace-go/tailrace/internal/jsonscan"
)

// object reads the fields of one JSON object, by exact name, and collects what is wrong with them.
type object struct {
	path   string
	fields []field
	faults []error
	list   *[]field // where fields goes back to
}

// fieldLists are kept between events: they would be a third of what decoding one allocates.
var fieldLists = sync.Pool{New: func() any {
	list := make([]field, 0, 24)
	return &list
}}

// release ends the reading. What was read stays, only the list of fields is used again.
func (o *object) release() {
	clear(o.fields)
	*o.list = o.fields[:0]
	fieldLists.Put(o.list)
	o.fields, o.list = nil, nil
}

func parseObject(path string, data []byte) (*object, error) {
	if !jsonscan.Valid(data) {
		return nil, syntaxFault(path, data)
	}
	return splitObject(path, data)
}

// splitObject is parseObject for data that is known to be JSON.
func splitObject(path string, data []byte) (*object, error) {
	start := jsonscan.Space(data, 0)
	if data[start] != '{' {
		return nil, &FieldError{Field: path, Problem: "is " + kindOf(data[start]) + ", where an object belongs"}
	}
	list, _ := fieldLists.Get().(*[]field)
	return &object{path: path, list: list, fields: splitFields(*list, data, start)}, nil
}

func syntaxFault(path string, data []byte) error {
	if jsonscan.Space(data, 0) == len(data) {
		return &FieldError{Field: path, Problem: "is empty"}
	}
	var syntax *json.SyntaxError
	var ignored json.RawMessage
	if !errors.As(json.Unmarshal(data, &ignored), &syntax) {
		return &FieldError{Field: path, Problem: "is not JSON"}
	}
	at := " at byte " + strconv.FormatInt(syntax.Offset, 10)
	// Python's json writes these three for float("nan") and float("inf").
	from := min(max(int(syntax.Offset)-2, 0), len(data))
	for _, number := range []string{"-Infinity", "NaN", "Infinity"} {
		if rest := data[from:]; bytes.HasPrefix(rest, []byte(number)) || len(rest) > 0 && bytes.HasPrefix(rest[1:], []byte(number)) {
			return &FieldError{Field: path, Problem: "is not JSON: it has " + number + at +
				", which only Python reads: publish null or a string in its place"}
		}
	}
	return &FieldError{Field: path, Problem: "is not JSON: syntax error" + at}
}

// orInvalid ends the reading of o and returns value, or nothing and the faults collected meanwhile.
func orInvalid[T any](value T, o *object) (T, error) {
	o.release()
	if len(o.faults) > 0 {
		var none T
		return none, joined(o.faults)
	}
	return value, nil
}

func (o *object) name(field string) string {
	if o.path == "" {
		return field
	}
	return o.path + "." + field
}

func (o *object) fault(field, problem string) {
	o.faults = append(o.faults, &FieldError{Field: o.name(field), Problem: problem})
}

func (o *object) wrong(field string, raw json.RawMessage, want string) {
	o.fault(field, "is "+kindOf(raw[0])+", where "+want+" belongs")
}

// get returns a field's JSON, or nothing for a field that is missing or null.
func (o *object) get(field string) (json.RawMessage, bool) {
	raw, present := o.raw(field)
	return raw, present && raw[0] != 'n'
}

// raw returns a field's JSON; of several by the same name the last, as encoding/json has it.
func (o *object) raw(field string) (json.RawMessage, bool) {
	for _, one := range slices.Backward(o.fields) {
		if string(one.name) == field {
			return one.value, true
		}
	}
	return nil, false
}

func (o *object) has(fields ...string) bool {
	for _, field := range fields {
		if _, present := o.raw(field); !present {
			return false
		}
	}
	return true
}

func (o *object) str(field string) string {
	raw, present := o.get(field)
	if !present {
		return ""
	}
	value, ok := unquote(raw)
	if !ok {
		o.wrong(field, raw, "a string")
	}
	return value
}

func (o *object) required(field string) string {
	raw, present := o.get(field)
	if !present {
		o.fault(field, "is missing")
		return ""
	}
	value, ok := unquote(raw)
	switch {
	case !ok:
		o.wrong(field, raw, "a string")
	case value == "":
		o.fault(field, "is empty")
	}
	return value
}

func (o *object) time(field string) time.Time {
	value := o.str(field)
	if value == "" {
		return time.Time{}
	}
	t, ok := parseTime(value)
	if !ok {
		o.fault(field, "is not an RFC 3339 time with an offset")
	}
	return t
}

func (o *object) requiredTime(field string) time.Time {
	before := len(o.faults)
	value := o.required(field)
	if len(o.faults) > before {
		return time.Time{}
	}
	t, ok := parseTime(value)
	if !ok {
		o.fault(field, "is not an RFC 3339 time with an offset")
	}
	return t
}

func (o *object) bool(field string, fallback bool) bool {
	raw, present := o.get(field)
	if !present {
		return fallback
	}
	switch string(raw) {
	case "true":
		return true
	case "false":
		return false
	}
	o.wrong(field, raw, "true or false")
	return fallback
}

func (o *object) int(field string, fallback int) int {
	raw, present := o.get(field)
	if !present {
		return fallback
	}
	value, err := strconv.Atoi(string(raw))
	if err != nil {
		o.wrong(field, raw, "a whole number of 64 bits")
		return fallback
	}
	return value
}

// value returns any JSON; null and a missing field are nil.
func (o *object) value(field string) any {
	if raw, present := o.get(field); present {
		return raw
	}
	return nil
}

// object returns a JSON object's text; null and a missing field are {}.
func (o *object) object(field string) any {
	raw, present := o.get(field)
	if !present {
		return json.RawMessage("{}")
	}
	if raw[0] != '{' {
		o.wrong(field, raw, "an object")
	}
	return raw
}

func (o *object) sub(field string) *object {
	raw, present := o.get(field)
	if !present {
		o.fault(field, "is missing")
		return nil
	}
	inner, err := splitObject(o.name(field), raw)
	if err != nil {
		o.faults = append(o.faults, err)
	}
	return inner
}

func (o *object) array(field string) []json.RawMessage {
	raw, present := o.get(field)
	if !present {
		return nil
	}
	if raw[0] != '[' {
		o.wrong(field, raw, "an array")
		return nil
	}
	return splitItems(raw)
}

func (o *object) values(field string) []any {
	var values []any
	for _, item := range o.array(field) {
		values = append(values, item)
	}
	return values
}

func objectStrings[S ~string](o *object, field string) []S {
	items := o.array(field)
	if len(items) == 0 {
		return nil
	}
	values := make([]S, len(items))
	for i, item := range items {
		value, ok := unquote(item)
		if !ok {
			o.wrong(field+"["+strconv.Itoa(i)+"]", item, "a string")
		}
		values[i] = S(value)
	}
	return values
}

func (o *object) stringMap(field string) map[string]string {
	raw, present := o.get(field)
	if !present || string(raw) == "{}" {
		return nil
	}
	inner := o.sub(field)
	if inner == nil {
		return nil
	}
	defer inner.release()
	if len(inner.fields) == 0 {
		return nil
	}
	values := make(map[string]string, len(inner.fields))
	for _, one := range inner.fields {
		// A header's name is the application's own and may be content, so the fault names the map.
		value, ok := unquote(one.value)
		if !ok {
			o.fault(field, "has a value that is not a string")
			return nil
		}
		values[string(one.name)] = value
	}
	return values
}

// unquote returns the string of a JSON string that was parsed before.
func unquote(raw json.RawMessage) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	if body := raw[1 : len(raw)-1]; plain(body) {
		return string(body), true
	}
	var value string
	return value, json.Unmarshal(raw, &value) == nil
}

func plain(body []byte) bool {
	for _, c := range body {
		if c == '\\' || c >= 0x80 {
			return false
		}
	}
	return true
}

func kindOf(first byte) string {
	switch first {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}

// unmarshalFault says where a value does not fit the caller's type. encoding/json's own text quotes
// numbers.
func unmarshalFault(field string, err error) error {
	fault := &FieldError{Field: field, Problem: "does not decode as the type asked for", cause: err}
	var typ *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &typ):
		if typ.Field != "" {
			fault.Field += "." + typ.Field
		}
		kind, _, _ := strings.Cut(typ.Value, " ")
		fault.Problem = "is of the JSON type " + kind + ", which does not fit " + typ.Type.String()
	case errors.As(err, &syntax):
		fault.Problem = "is not JSON"
	}
	return fault
}
