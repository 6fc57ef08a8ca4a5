package envelopes

import "encoding/json"

// The functions here take JSON apart that encoding/json has found valid, without copying or decoding it.

// field is one field of an object: its name, decoded, and its value's JSON.
type field struct {
	name  []byte
	value json.RawMessage
}

// splitFields returns the fields of the object that starts at data[at].
func splitFields(data []byte, at int) []field {
	fields := make([]field, 0, 16)
	for at = skipSpace(data, at+1); data[at] != '}'; {
		if data[at] == ',' {
			at = skipSpace(data, at+1)
		}
		end := skipString(data, at)
		name := data[at+1 : end-1]
		if !plain(name) {
			decoded, _ := unquote(data[at:end])
			name = []byte(decoded)
		}
		// Over the colon.
		at = skipSpace(data, skipSpace(data, end)+1)
		end = skipValue(data, at)
		fields = append(fields, field{name, data[at:end:end]})
		at = skipSpace(data, end)
	}
	return fields
}

// splitItems returns the items of an array, which data starts with.
func splitItems(data []byte) []json.RawMessage {
	var items []json.RawMessage
	for at := skipSpace(data, 1); data[at] != ']'; {
		if data[at] == ',' {
			at = skipSpace(data, at+1)
		}
		end := skipValue(data, at)
		items = append(items, data[at:end:end])
		at = skipSpace(data, end)
	}
	return items
}

func skipSpace(data []byte, at int) int {
	for at < len(data) && (data[at] == ' ' || data[at] == '\n' || data[at] == '\t' || data[at] == '\r') {
		at++
	}
	return at
}

// skipString returns the place after the string that starts at data[at].
func skipString(data []byte, at int) int {
	for at++; data[at] != '"'; at++ {
		if data[at] == '\\' {
			at++
		}
	}
	return at + 1
}

// skipValue returns the place after the value that starts at data[at].
func skipValue(data []byte, at int) int {
	switch data[at] {
	case '"':
		return skipString(data, at)
	case '{', '[':
		for depth := 0; ; {
			switch data[at] {
			case '"':
				at = skipString(data, at)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			at++
			if depth == 0 {
				return at
			}
		}
	}
	for ; at < len(data); at++ {
		switch data[at] {
		case ',', '}', ']', ' ', '\n', '\t', '\r':
			return at
		}
	}
	return at
}
