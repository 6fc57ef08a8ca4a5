package decorators

import (
	"bytes"
	"context"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	"github.com/tailrace-go/tailrace/envelopes/redact"
)

// content says what goes into a payload.
type content struct {
	args, result, err   bool
	argName, resultName string
}

// payload makes payloads: what goes in, and what it is called.
type payload[In, Out any] struct {
	content
	hook *hook[In, Out]
	// hidden: the result's name says secret.
	hidden bool
	// noInput and noResult are for what the function does not have.
	noInput, noResult bool
}

// newPayload checks the names: what has none cannot be known to be no secret.
func newPayload[In, Out any](h *hook[In, Out], c content, faults *faults) *payload[In, Out] {
	in, out := reflect.TypeFor[In](), reflect.TypeFor[Out]()
	p := &payload[In, Out]{content: c, hook: h, noInput: in == reflect.TypeFor[none](), noResult: out == reflect.TypeFor[none]()}
	if p.argName == "" && (bare(in) || closed(in) && h.redact.Secret(baseName(in))) {
		p.argName = baseName(in)
		if c.args && bare(in) && predeclared(in) {
			faults.addf("the input is a %v, which has no name that could say that it is a secret: set ArgName, or leave the args out", in)
		}
	}
	if p.resultName == "" && (bare(out) || closed(out)) {
		p.resultName = baseName(out)
		if c.result && predeclared(out) && texts(out) {
			faults.addf("the result is a %v, which has no name that could say that it is a secret: set ResultName, or leave the result out", out)
		}
	}
	p.hidden = h.redact.Secret(p.resultName)
	return p
}

// bare says that a value of the type has no names of its own in JSON.
func bare(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct, reflect.Map, reflect.Interface:
		return false
	case reflect.Pointer:
		return bare(t.Elem())
	default:
		return true
	}
}

// closed says that a value of the type that could have names encodes itself, perhaps as a mere text.
func closed(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		return closed(t.Elem())
	}
	if t.Kind() == reflect.Interface {
		return false
	}
	return slices.ContainsFunc([]reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler]()}, func(how reflect.Type) bool {
		return reflect.PointerTo(t).Implements(how)
	})
}

// predeclared says that the type is made of Go's own types, which have no telling names.
func predeclared(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return t.PkgPath() == "" && (!bare(t.Elem()) || predeclared(t.Elem()))
	default:
		return t.PkgPath() == ""
	}
}

// baseName is the name of the type, or of that which it is a list of, if somebody gave it one: a Password
// says what it is.
func baseName(t reflect.Type) string {
	if t.PkgPath() != "" {
		return t.Name()
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return baseName(t.Elem())
	default:
		return ""
	}
}

// texts says that the type is a string, or bytes, or a list of such.
func texts(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return texts(t.Elem())
	default:
		return t.Kind() == reflect.String || t.Kind() == reflect.Uint8
	}
}

// success is {"args": {…}, "result": …}. It is encoded as one if it can be, so that both are within the limit
// together.
func (p *payload[In, Out]) success(ctx context.Context, in In, out Out) json.RawMessage {
	const start = `{"args":{`
	if p.args || p.result {
		data, err := p.encode(p.whole(in, out))
		if err == nil && (!p.args || bytes.HasPrefix(data, []byte(start))) {
			return data
		}
	}
	data := append(make([]byte, 0, 256), '{')
	data = p.appendArgs(ctx, data, in)
	if p.result {
		data = member(data, "result")
		data = p.appendResult(ctx, data, out)
	}
	return append(data, '}')
}

type (
	argsOf[A any] struct {
		Args A `json:"args"`
	}
	resultOf[R any] struct {
		Result R `json:"result"`
	}
	argsAndResult[A, R any] struct {
		Args   A `json:"args"`
		Result R `json:"result"`
	}
)

// whole is the value that is encoded as the payload.
func (p *payload[In, Out]) whole(in In, out Out) any {
	switch {
	case !p.result && p.argName != "":
		return argsOf[map[string]In]{map[string]In{p.argName: in}}
	case !p.result:
		return argsOf[In]{in}
	case p.hidden || p.noResult:
		return p.withoutResult(in)
	case !p.args:
		return resultOf[Out]{out}
	case p.argName != "":
		return argsAndResult[map[string]In, Out]{map[string]In{p.argName: in}, out}
	default:
		return argsAndResult[In, Out]{in, out}
	}
}

// withoutResult has something in the result's place.
func (p *payload[In, Out]) withoutResult(in In) any {
	var result any
	if p.hidden {
		result = redact.Mark
	}
	switch {
	case !p.args:
		return resultOf[any]{result}
	case p.argName != "":
		return argsAndResult[map[string]In, any]{map[string]In{p.argName: in}, result}
	default:
		return argsAndResult[In, any]{in, result}
	}
}

// failure is {"args": {…}, "error": {"type": "…", "message": "…"}}.
func (p *payload[In, Out]) failure(ctx context.Context, in In, failed failure) json.RawMessage {
	data := append(make([]byte, 0, 256), '{')
	data = p.appendArgs(ctx, data, in)
	if p.err {
		data = member(data, "error")
		encoded, _ := json.Marshal(struct { //nolint:errchkjson // Two strings.
			Type    string `json:"type"`
			Message string `json:"message"`
		}{failed.typ, failed.message})
		data = append(data, encoded...)
	}
	return append(data, '}')
}

func member(data []byte, name string) []byte {
	if len(data) > 1 {
		data = append(data, ',')
	}
	data = append(data, '"')
	data = append(data, name...)
	return append(data, `":`...)
}

// appendArgs appends the args, which are an object whatever the input is.
func (p *payload[In, Out]) appendArgs(ctx context.Context, data []byte, in In) []byte {
	if !p.args {
		return data
	}
	data = member(data, "args")
	if p.noInput {
		return append(data, "{}"...)
	}
	args, err := p.encode(p.argument(in))
	switch {
	case err != nil:
		p.hook.incomplete(ctx, "args", err.Error())
		return append(data, unencoded("args", in)...)
	case args[0] == '{':
		return append(data, args...)
	case string(args) == "null":
		return append(data, "{}"...)
	default:
		data = append(data, `{"value":`...)
		return append(append(data, args...), '}')
	}
}

// argument is the input with its name, if it has none itself.
func (p *payload[In, Out]) argument(in In) any {
	if p.argName == "" {
		return in
	}
	return map[string]In{p.argName: in}
}

func (p *payload[In, Out]) appendResult(ctx context.Context, data []byte, out Out) []byte {
	if p.noResult {
		return append(data, "null"...)
	}
	if p.hidden {
		return append(data, `"`+redact.Mark+`"`...)
	}
	result, err := p.encode(out)
	if err != nil {
		p.hook.incomplete(ctx, "result", err.Error())
		return append(data, unencoded("result", out)...)
	}
	return append(data, result...)
}

// encode is the Redactor's, where a panic of the value's own MarshalJSON is an error: the call is over, and
// nothing may change its result.
func (p *payload[In, Out]) encode(value any) (data json.RawMessage, err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			err = fmt.Errorf("decorators: encoding a value of type %T panicked with a %T", value, panicked)
		}
	}()
	return p.hook.redact.JSON(value)
}

// unencoded stands for what could not be encoded.
func unencoded(what string, value any) string {
	typ, _ := json.Marshal(fmt.Sprintf("%T", value)) //nolint:errchkjson // A string.
	if what == "args" {
		return `{"[not encoded]":` + string(typ) + `}`
	}
	return string(typ[:1]) + "[not encoded] " + string(typ[1:])
}

// clean returns the failure with a text that quotes nothing that is left out of the input.
func (p *payload[In, Out]) clean(in In, failed failure) failure {
	failed = failed.described()
	var about []any
	if !p.noInput {
		about = []any{p.argument(in)}
	}
	failed.message = p.text(failed.message, about)
	failed.code = p.text(failed.code, about)
	return failed
}

func (p *payload[In, Out]) text(text string, about []any) (cleaned string) {
	defer func() {
		if panicked := recover(); panicked != nil {
			cleaned = p.hook.redact.Text(text)
		}
	}()
	return p.hook.redact.Text(text, about...)
}
