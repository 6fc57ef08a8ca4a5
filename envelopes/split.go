package envelopes

import (
	"encoding/json"

	"github.com/tailrace-go/tailrace/internal/jsonscan"
)

// The functions here take JSON apart that encoding/json has found valid, without copying or decoding it.

// field is one field of an object: its name, decoded, and its value's JSON.
type field struct {
	name  []byte
	value json.RawMessage
}

// splitFields appends the fields of the object that starts at data[at].
func splitFields(fields []field, data []byte, at int) []field {
	for at = jsonscan.Space(data, at+1); data[at] != '}'; {
		if data[at] == ',' {
			at = jsonscan.Space(data, at+1)
		}
		end := jsonscan.String(data, at)
		name := data[at+1 : end-1]
		if !plain(name) {
			decoded, _ := unquote(data[at:end])
			name = []byte(decoded)
		}
		// Over the colon.
		at = jsonscan.Space(data, jsonscan.Space(data, end)+1)
		end = jsonscan.Value(data, at)
		fields = append(fields, field{name, data[at:end:end]})
		at = jsonscan.Space(data, end)
	}
	return fields
}

// splitItems returns the items of an array, which data starts with.
func splitItems(data []byte) []json.RawMessage {
	var items []json.RawMessage
	for at := jsonscan.Space(data, 1); data[at] != ']'; {
		if data[at] == ',' {
			at = jsonscan.Space(data, at+1)
		}
		end := jsonscan.Value(data, at)
		items = append(items, data[at:end:end])
		at = jsonscan.Space(data, end)
	}
	return items
}
