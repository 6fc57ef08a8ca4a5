package cqrs

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/tailrace-go/tailrace/internal/jsonscan"
)

// withUnknown returns the envelope fresh with those fields of old that no envelope has: a marshaler put around
// ours may have added them. Where old has none, it is fresh itself.
func withUnknown(old, fresh []byte) ([]byte, error) {
	if sameNames(old, fresh, true) {
		return fresh, nil
	}
	return merge(old, fresh, true)
}

// nested says that a field of an envelope has fields of its own that an envelope knows.
func nested(name string) bool { return name == "metadata" || name == "payload" }

// sameNames reports whether two objects, which are valid JSON, have the same fields in the same order, as all
// envelopes have that package envelopes encoded.
func sameNames(a, b []byte, envelope bool) bool {
	i, j := jsonscan.Space(a, 0), jsonscan.Space(b, 0)
	if a[i] != '{' || b[j] != '{' {
		return false
	}
	for {
		i, j = jsonscan.Space(a, i+1), jsonscan.Space(b, j+1)
		if a[i] == '}' || b[j] == '}' {
			return a[i] == b[j]
		}
		endA, endB := jsonscan.String(a, i), jsonscan.String(b, j)
		name := a[i:endA]
		if !bytes.Equal(name, b[j:endB]) {
			return false
		}
		// Over the colons.
		i, j = jsonscan.Space(a, jsonscan.Space(a, endA)+1), jsonscan.Space(b, jsonscan.Space(b, endB)+1)
		endA, endB = jsonscan.Value(a, i), jsonscan.Value(b, j)
		if envelope && nested(string(name[1:len(name)-1])) && !sameNames(a[i:endA], b[j:endB], false) {
			return false
		}
		// At the commas, or the ends.
		i, j = jsonscan.Space(a, endA), jsonscan.Space(b, endB)
		if a[i] == '}' || b[j] == '}' {
			return a[i] == b[j]
		}
	}
}

func merge(old, fresh []byte, envelope bool) (json.RawMessage, error) {
	var given, merged map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(old, &given), json.Unmarshal(fresh, &merged)); err != nil {
		return nil, err
	}
	for name, value := range given {
		mine, is := merged[name]
		switch {
		case !is:
			merged[name] = value
		case envelope && nested(name):
			both, err := merge(value, mine, false)
			if err != nil {
				return nil, err
			}
			merged[name] = both
		}
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(merged)
	return bytes.TrimSpace(out.Bytes()), err
}
