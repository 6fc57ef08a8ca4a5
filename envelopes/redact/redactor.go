package redact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/tailrace-go/tailrace/internal/jsonscan"
)

const (
	// Mark stands, as a JSON string, where a secret was.
	Mark = "[redacted]"
	// DefaultLimit is the limit of a Redactor that is not told one, in bytes.
	DefaultLimit = 16 << 10
	// MinLimit is the least limit there is room in to say that something is missing, in bytes.
	MinLimit = 256
)

// ErrConfig is wrapped by every mistake in a [Config].
var ErrConfig = errors.New("redact: invalid configuration")

// ErrNotJSON: what was given to [Redactor.Raw] is not JSON.
var ErrNotJSON = errors.New("redact: not JSON")

// Config is what a [Redactor] is made from. Its zero value is what [Default] uses.
type Config struct {
	// Names say secret, beside the built-in ones. Each is one or several words, in any style ("iban",
	// "date of birth", "dateOfBirth"), and counts wherever its words stand in a field's name one after the
	// other; one in a script without upper and lower case counts anywhere in a name. Default: none.
	Names []string
	// Except are complete names that do not say secret although a word in them does, for instance
	// "page_token". The style does not matter. A tag still counts. Default: none.
	Except []string
	// Limit is the greatest length of a result, in bytes: at least [MinLimit]; negative means none.
	// Default: 16 KiB.
	Limit int
}

// Redactor encodes values without their secrets. It is safe for concurrent use.
type Redactor struct {
	// names is nil for the one that lets everything pass.
	names *matcher
	limit int
}

var (
	standard = sync.OnceValue(func() *Redactor {
		r, _ := New(Config{})
		return r
	})
	none = &Redactor{limit: -1}
)

// New checks the configuration, reporting all mistakes at once, and makes a Redactor.
func New(config Config) (*Redactor, error) {
	var faults []error
	names, err := newMatcher(config.Names, config.Except)
	if err != nil {
		faults = append(faults, err)
	}
	switch {
	case config.Limit == 0:
		config.Limit = DefaultLimit
	case config.Limit > 0 && config.Limit < MinLimit:
		faults = append(faults, fmt.Errorf("%w: Limit is %d bytes: give it at least %d, or a negative one for no limit", ErrConfig, config.Limit, MinLimit))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return &Redactor{names: names, limit: config.Limit}, nil
}

// Default returns the Redactor with the built-in names and the limit of 16 KiB.
func Default() *Redactor { return standard() }

// None returns the Redactor that lets everything pass, tagged fields too, at any length.
func None() *Redactor { return none }

// JSON encodes value as encoding/json does, with <, > and & as they are, secrets replaced by [Mark], and
// cut to the limit. An empty json.RawMessage is null. The error says which type could not be encoded;
// encoding/json's own, whose text may quote content, is what it unwraps to.
func (r *Redactor) JSON(value any) (json.RawMessage, error) {
	if raw, ok := value.(json.RawMessage); ok && len(raw) == 0 {
		value = nil
	}
	p := passes.Get().(*pass)
	defer p.release()
	if err := p.encode(value); err != nil {
		return nil, err
	}
	data := p.in
	if r.names != nil {
		var v reflect.Value
		n := typeNode(reflect.TypeOf(value))
		if n != nil && n.walk {
			v = reflect.ValueOf(value)
		}
		data = p.run(r.names, n, v)
	}
	return r.within(data, true), nil
}

// Raw does the same to JSON that is encoded already; there, only names tell what is secret. What needs no
// change is returned as it is, the same bytes. The error is [ErrNotJSON].
func (r *Redactor) Raw(data []byte) ([]byte, error) {
	if !jsonscan.Valid(data) {
		return nil, fmt.Errorf("%w: give Raw what encoding/json made, or use JSON", ErrNotJSON)
	}
	if r.names == nil {
		return data, nil
	}
	p := passes.Get().(*pass)
	defer p.release()
	own := p.in
	p.in = data
	changed := p.run(r.names, nil, reflect.Value{})
	p.in = own
	return r.within(changed, len(p.out) > 0), nil
}

// Secret says whether a field of this name is left out.
func (r *Redactor) Secret(name string) bool { return r.names != nil && r.names.secret([]byte(name)) }

// within returns data within the limit, in memory of its own if data is not to keep.
func (r *Redactor) within(data []byte, borrowed bool) []byte {
	if r.limit >= 0 && len(data) > r.limit {
		return cut(data, r.limit)
	}
	if borrowed {
		return bytes.Clone(data)
	}
	return data
}

// encodeError says which type could not be encoded, and keeps to itself what encoding/json quotes.
type encodeError struct {
	of    reflect.Type
	cause error
}

func (e *encodeError) Error() string {
	return fmt.Sprintf("redact: a value of type %v cannot be encoded as JSON: give it a type that can, or leave it out", e.of)
}

func (e *encodeError) Unwrap() error { return e.cause }

func encodeFault(value any, err error) error {
	fault := &encodeError{of: reflect.TypeOf(value), cause: err}
	var (
		typ *json.UnsupportedTypeError
		own *json.MarshalerError
	)
	switch {
	case errors.As(err, &typ):
		fault.of = typ.Type
	case errors.As(err, &own):
		fault.of = own.Type
	}
	return fault
}
