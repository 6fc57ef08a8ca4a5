package watermillsql

import (
	"bytes"
	"encoding/base64"
	"slices"
	"unicode/utf8"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// plain reads an envelope in the form that encoding/json writes it, or PostgreSQL's jsonb keeps it, with no
// escapes: nearly all are. It reports false for any other, which is no verdict on it.
func (n names) plain(raw []byte, keyField string) (delivery.Record, bool) {
	p := scanner{rest: raw, content: make([]byte, 0, len(raw)), headers: make([]delivery.Header, 1, 8)}
	var topic, uuid, value []byte
	ok := p.object(func(name []byte) bool {
		var known bool
		switch string(name) {
		case "destination_topic":
			topic, known = p.text()
		case "uuid":
			uuid, known = p.text()
		case "payload":
			value, known = p.base64()
		case "metadata":
			known = p.null() || p.object(func(name []byte) bool {
				text, ok := p.text()
				p.headers = append(p.headers, delivery.Header{Key: n.intern(name), Value: text})
				return ok
			})
		}
		return known
	})
	if !ok || len(p.rest) > 0 || len(topic) == 0 || p.fields > 4 {
		return delivery.Record{}, false
	}
	record := delivery.Record{Topic: n.intern(topic), Value: value, Headers: p.headers}
	record.Headers[0] = delivery.Header{Key: delivery.UUIDHeader, Value: append([]byte{}, uuid...)}
	fields := record.Headers[1:]
	if !slices.IsSortedFunc(fields, byName) {
		slices.SortFunc(fields, byName)
	}
	for i, field := range fields {
		switch {
		case i > 0 && field.Key == fields[i-1].Key, field.Key == delivery.UUIDHeader:
			return delivery.Record{}, false
		case field.Key == keyField && keyField != "" && len(field.Value) > 0:
			record.Key = field.Value
		}
	}
	return record, true
}

// scanner reads JSON without escapes. What it returns is copied to content.
type scanner struct {
	rest    []byte
	content []byte
	headers []delivery.Header
	depth   int
	fields  int // of the outer object
}

// object reads an object, each field's value by value.
func (p *scanner) object(value func(name []byte) bool) bool {
	if !p.token('{') {
		return false
	}
	p.depth++
	for first := true; !p.token('}'); first = false {
		if !first && !p.token(',') {
			return false
		}
		name, ok := p.quoted()
		if !ok || !p.token(':') {
			return false
		}
		if p.depth == 1 {
			p.fields++
		}
		if !value(name) {
			return false
		}
	}
	p.depth--
	return true
}

func (p *scanner) token(c byte) bool {
	p.rest = bytes.TrimLeft(p.rest, " \t\r\n")
	if len(p.rest) == 0 || p.rest[0] != c {
		return false
	}
	p.rest = bytes.TrimLeft(p.rest[1:], " \t\r\n")
	return true
}

func (p *scanner) null() bool {
	if !bytes.HasPrefix(p.rest, []byte("null")) {
		return false
	}
	p.rest = p.rest[len("null"):]
	return true
}

// quoted reads a string that stands for itself. It is the scanner's.
func (p *scanner) quoted() ([]byte, bool) {
	if len(p.rest) == 0 || p.rest[0] != '"' {
		return nil, false
	}
	end := bytes.IndexByte(p.rest[1:], '"')
	if end < 0 {
		return nil, false
	}
	s := p.rest[1 : end+1]
	ascii := true
	for _, c := range s {
		if c == '\\' || c < ' ' {
			return nil, false
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	p.rest = p.rest[end+2:]
	return s, ascii || utf8.Valid(s)
}

// text reads a string's value.
func (p *scanner) text() ([]byte, bool) {
	s, ok := p.quoted()
	start := len(p.content)
	p.content = append(p.content, s...)
	return p.content[start:len(p.content):len(p.content)], ok
}

// base64 reads bytes as encoding/json writes them; nil for null.
func (p *scanner) base64() ([]byte, bool) {
	if p.null() {
		return nil, true
	}
	s, ok := p.quoted()
	if !ok {
		return nil, false
	}
	start := len(p.content)
	out, err := base64.StdEncoding.AppendDecode(p.content, s)
	if err != nil {
		return nil, false
	}
	p.content = out
	return out[start:len(out):len(out)], true
}
