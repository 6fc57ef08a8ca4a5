package redact

import (
	"encoding/json"
	"reflect"
	"sync"
	"unicode/utf8"

	"github.com/tailrace-go/tailrace/internal/jsonscan"
)

// pass goes once over the JSON in, and copies to out only what stands around a secret, so that what has
// none is not copied at all.
type pass struct {
	in, out []byte
	encoder *json.Encoder
	names   *matcher
	// copied is how much of in is in out already.
	copied int
	// inside are the names that count within types that encode themselves, innermost last.
	inside []nameSet
	// found, if set, is given each secret's JSON.
	found func(secret []byte)
}

var passes = sync.Pool{New: func() any {
	p := &pass{in: make([]byte, 0, 1024)}
	p.encoder = json.NewEncoder(p)
	p.encoder.SetEscapeHTML(false)
	return p
}}

func (p *pass) release() {
	// One huge value must not pin its buffer for the life of the process.
	const most = 64 << 10
	if cap(p.in) > most || cap(p.out) > most {
		return
	}
	clear(p.inside[:cap(p.inside)])
	p.in, p.out, p.inside = p.in[:0], p.out[:0], p.inside[:0]
	p.names, p.found, p.copied = nil, nil, 0
	passes.Put(p)
}

// Write takes what encoding/json made.
func (p *pass) Write(b []byte) (int, error) {
	p.in = append(p.in, b...)
	return len(b), nil
}

func (p *pass) encode(value any) error {
	if err := p.encoder.Encode(value); err != nil {
		// An Encoder that failed once may be left with a part of what it began.
		p.encoder = json.NewEncoder(p)
		p.encoder.SetEscapeHTML(false)
		return encodeFault(value, err)
	}
	// Encode ends with a newline.
	p.in = p.in[:len(p.in)-1]
	return nil
}

// run returns in without its secrets, which is in itself if it has none. n is the plan of the type that in
// was encoded from, if known, and v the value, if the plan needs it.
func (p *pass) run(names *matcher, n *node, v reflect.Value) []byte {
	p.names = names
	p.value(jsonscan.Space(p.in, 0), n, v)
	if p.copied == 0 {
		return p.in
	}
	p.out = append(p.out, p.in[p.copied:]...)
	return p.out
}

func (p *pass) replace(from, to int) {
	if p.found != nil {
		p.found(p.in[from:to])
	}
	p.out = append(p.out, p.in[p.copied:from]...)
	p.out = append(p.out, `"`+Mark+`"`...)
	p.copied = to
}

// value returns the place after the value at in[at].
func (p *pass) value(at int, n *node, v reflect.Value) int {
	if n != nil {
		n, v = n.resolve(v)
	}
	var names nameSet
	if n == nil {
		v = reflect.Value{}
	} else if names = n.namesInside(v); n.unnamed(p.in[at], names) {
		end := jsonscan.Value(p.in, at)
		p.replace(at, end)
		return end
	}
	if len(names) > 0 {
		p.inside = append(p.inside, names)
		defer func() { p.inside = p.inside[:len(p.inside)-1] }()
	}
	switch p.in[at] {
	case '{':
		return p.object(at, n, v)
	case '[':
		return p.array(at, n, v)
	default:
		return jsonscan.Value(p.in, at)
	}
}

// unnamed says that a type that encodes itself and has tagged fields writes JSON that begins like this, in
// which no name tells what is theirs.
func (n *node) unnamed(first byte, names nameSet) bool {
	switch {
	case !n.own || len(names) == 0:
		return false
	case first == '[':
		return n.sealed
	default: // a string or a number
		return first == '"' || first == '-' || first >= '0' && first <= '9'
	}
}

func (p *pass) object(at int, n *node, v reflect.Value) int {
	var keys keys
	for at = jsonscan.Space(p.in, at+1); p.in[at] != '}'; {
		if p.in[at] == ',' {
			at = jsonscan.Space(p.in, at+1)
		}
		end := jsonscan.String(p.in, at)
		name := p.in[at+1 : end-1]
		if !plain(name) {
			name = decode(p.in[at:end])
		}
		if n != nil && n.secretKeys {
			p.replace(at, end)
		}
		// Over the colon.
		at = jsonscan.Space(p.in, jsonscan.Space(p.in, end)+1)
		member, w, tagged := n.member(name, v, &keys, p.names)
		if tagged || p.names.secret(name) || p.named(name) {
			end = jsonscan.Value(p.in, at)
			p.replace(at, end)
		} else {
			end = p.value(at, member, w)
		}
		at = jsonscan.Space(p.in, end)
	}
	return at + 1
}

func (p *pass) array(at int, n *node, v reflect.Value) int {
	i := 0
	for at = jsonscan.Space(p.in, at+1); p.in[at] != ']'; i++ {
		if p.in[at] == ',' {
			at = jsonscan.Space(p.in, at+1)
		}
		item, w := n.item(i, v)
		at = jsonscan.Space(p.in, p.value(at, item, w))
	}
	return at + 1
}

// named says that a type around, which encodes itself, has a tagged field of this name.
func (p *pass) named(name []byte) bool {
	if len(p.inside) == 0 {
		return false
	}
	folded := fold(string(name))
	for _, names := range p.inside {
		if _, is := names[folded]; is {
			return true
		}
	}
	return false
}

// plain says that a string's text is what it means.
func plain(text []byte) bool {
	for _, c := range text {
		if c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// decode returns what a JSON string means.
func decode(quoted []byte) []byte {
	var text string
	// It cannot fail: it is a string in valid JSON.
	_ = json.Unmarshal(quoted, &text)
	return []byte(text)
}
