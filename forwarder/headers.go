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

// headerBlocks is memory for the headers of many records, in few allocations. A block lives until the last
// record that has a part of it is done.
type headerBlocks struct {
	headers []delivery.Header
	text    []byte
}

const (
	// headerBlock headers are allocated at once, and usualHeaders a record has at most, or else its headers
	// get memory of their own.
	headerBlock, usualHeaders = 1024, 16
	textBlock                 = 16 << 10
)

// room returns where a record's headers may be appended, for keep.
func (b *headerBlocks) room() []delivery.Header {
	if cap(b.headers)-len(b.headers) < usualHeaders {
		b.headers = make([]delivery.Header, 0, headerBlock)
	}
	at := len(b.headers)
	return b.headers[at:at]
}

// keep takes what was appended to room.
func (b *headerBlocks) keep(headers []delivery.Header) []delivery.Header {
	if at := len(b.headers); len(headers) <= cap(b.headers)-at {
		b.headers = b.headers[:at+len(headers)]
	}
	return headers[:len(headers):len(headers)]
}

// bytes is []byte(s).
func (b *headerBlocks) bytes(s string) []byte {
	if len(s) > cap(b.text)-len(b.text) {
		b.text = make([]byte, 0, max(textBlock, len(s)))
	}
	at := len(b.text)
	b.text = append(b.text, s...)
	return b.text[at:len(b.text):len(b.text)]
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

// plain reads the form that our writer emits: an object of strings without escapes. It leaves everything
// else, and all that is wrong, to general.
func (n headerNames) plain(dst []delivery.Header, b []byte) ([]delivery.Header, bool) {
	start := len(dst)
	at := skip(b, 0, '{')
	if at < 0 {
		return dst, false
	}
	if end := skip(b, at, '}'); end >= 0 {
		return dst, end == len(b)
	}
	for {
		nameEnd := text(b, at)
		if nameEnd < 0 {
			return dst[:start], false
		}
		value := skip(b, nameEnd+1, ':')
		if value < 0 {
			return dst[:start], false
		}
		valueEnd := text(b, value)
		if valueEnd < 0 {
			return dst[:start], false
		}
		dst = append(dst, delivery.Header{Key: n.intern(b[at+1 : nameEnd]), Value: b[value+1 : valueEnd : valueEnd]})
		if next := skip(b, valueEnd+1, ','); next >= 0 {
			at = next
			continue
		}
		if skip(b, valueEnd+1, '}') == len(b) {
			return dst, true
		}
		return dst[:start], false
	}
}

// text returns where the string that begins at b[at] ends, at its closing quote, or -1 if there is none or
// it has escapes.
func text(b []byte, at int) int {
	if at >= len(b) || b[at] != '"' {
		return -1
	}
	for i := at + 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i
		case c == '\\' || c < ' ':
			return -1
		}
	}
	return -1
}

// skip returns where b goes on behind the character, which white space may surround, or -1 if it is another.
func skip(b []byte, at int, c byte) int {
	at = space(b, at)
	if at >= len(b) || b[at] != c {
		return -1
	}
	return space(b, at+1)
}

func space(b []byte, at int) int {
	for at < len(b) && (b[at] == ' ' || b[at] == '\t' || b[at] == '\r' || b[at] == '\n') {
		at++
	}
	return at
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
