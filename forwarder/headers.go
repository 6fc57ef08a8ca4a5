package forwarder

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

var errHeaders = errors.New("forwarder: the row's headers are not a flat JSON object of strings: mend the headers column, then set retry_count = 0")

// headerNames keeps one string for each header name, since a backlog repeats a dozen of them.
type headerNames map[string]string

// maxHeaderNames bounds it against rows whose names are data.
const maxHeaderNames = 1000

func (n headerNames) intern(name []byte) string {
	if known, ok := n[string(name)]; ok {
		return known
	}
	fresh := string(name)
	if len(n) < maxHeaderNames {
		n[fresh] = fresh
	}
	return fresh
}

// decode appends the headers of a row's column to dst. Values share the column's memory where they can.
func (n headerNames) decode(dst []delivery.Header, column []byte) ([]delivery.Header, error) {
	if len(column) == 0 {
		return dst, nil
	}
	if out, ok := n.plain(dst, column); ok {
		return out, nil
	}
	return n.general(dst, column)
}

// plain reads the form that our writer emits: an object of strings without escapes.
func (n headerNames) plain(dst []delivery.Header, b []byte) ([]delivery.Header, bool) {
	text := func() ([]byte, bool) {
		if len(b) == 0 || b[0] != '"' {
			return nil, false
		}
		end := bytes.IndexByte(b[1:], '"')
		if end < 0 {
			return nil, false
		}
		s := b[1 : end+1]
		b = b[end+2:]
		for _, c := range s {
			if c == '\\' || c < ' ' {
				return nil, false
			}
		}
		return s, true
	}
	token := func(c byte) bool {
		b = bytes.TrimLeft(b, " \t\r\n")
		if len(b) == 0 || b[0] != c {
			return false
		}
		b = bytes.TrimLeft(b[1:], " \t\r\n")
		return true
	}
	start := len(dst)
	if !token('{') {
		return dst[:start], false
	}
	for !token('}') {
		if len(dst) > start && !token(',') {
			return dst[:start], false
		}
		name, ok := text()
		if !ok || !token(':') {
			return dst[:start], false
		}
		value, ok := text()
		if !ok {
			return dst[:start], false
		}
		dst = append(dst, delivery.Header{Key: n.intern(name), Value: value[:len(value):len(value)]})
	}
	return dst, len(b) == 0
}

func (n headerNames) general(dst []delivery.Header, column []byte) ([]delivery.Header, error) {
	decoder := json.NewDecoder(bytes.NewReader(column))
	first, err := decoder.Token()
	if err != nil {
		return dst, fmt.Errorf("%w (%w)", errHeaders, err)
	}
	if first == nil {
		return dst, nil
	}
	if first != json.Delim('{') {
		return dst, errHeaders
	}
	start := len(dst)
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return dst[:start], fmt.Errorf("%w (%w)", errHeaders, err)
		}
		value, err := decoder.Token()
		if err != nil {
			return dst[:start], fmt.Errorf("%w (%w)", errHeaders, err)
		}
		text, ok := value.(string)
		if !ok {
			return dst[:start], errHeaders
		}
		dst = append(dst, delivery.Header{Key: n.intern([]byte(name.(string))), Value: []byte(text)})
	}
	if _, err := decoder.Token(); err != nil {
		return dst[:start], fmt.Errorf("%w (%w)", errHeaders, err)
	}
	return dst, nil
}
