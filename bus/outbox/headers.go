package outbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// appendHeaders appends the headers column of a message: its metadata without the record key, as a
// JSON object with sorted names. It appends nothing when there is none.
func appendHeaders(dst []byte, metadata message.Metadata, names []string) ([]byte, []string, error) {
	names = names[:0]
	for name := range metadata {
		if name != delivery.KeyMetadata {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return dst, names, nil
	}
	slices.Sort(names)
	dst = append(dst, '{')
	for i, name := range names {
		value := metadata[name]
		if !utf8.ValidString(name) || !utf8.ValidString(value) {
			return dst, names, fmt.Errorf("%w: metadata %s is not valid UTF-8: put bytes into the payload, or encode them", ErrMessage, strconv.Quote(name))
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, name)
		dst = append(dst, ':')
		dst = appendString(dst, value)
	}
	return append(dst, '}'), names, nil
}

// appendString appends a JSON string (RFC 8259, section 7) without escaping what JSON does not ask for.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			const hex = "0123456789abcdef"
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(dst, s[start:]...), '"')
}

// decodeHeaders reads a headers column. Nothing and null are no metadata; anything but a flat object
// of strings is an error, which does not quote the value.
func decodeHeaders(headers []byte) (message.Metadata, error) {
	headers = bytes.TrimSpace(headers)
	if len(headers) == 0 || string(headers) == "null" {
		return message.Metadata{}, nil
	}
	var values map[string]*string
	if err := json.Unmarshal(headers, &values); err != nil {
		return nil, fmt.Errorf("outbox: the headers column must hold one flat JSON object of strings")
	}
	metadata := make(message.Metadata, len(values)+1)
	for name, value := range values {
		if value == nil {
			return nil, fmt.Errorf("outbox: header %s is null in the headers column: leave it out or make it a string", strconv.Quote(strings.ToValidUTF8(name, "?")))
		}
		metadata[name] = *value
	}
	return metadata, nil
}
