package incoming

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxID is the greatest length of an id that is taken from a request, in bytes.
	MaxID = 128
	// MaxUserAgent is how much of a user agent is kept, in bytes.
	MaxUserAgent = 256
)

// ID reports whether an id that came with a request is harmless wherever it will be written: at most
// [MaxID] letters, digits and -._:/+=@~|;, of ASCII.
func ID(id string) bool {
	if id == "" || len(id) > MaxID {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case strings.IndexByte("-._:/+=@~|;,", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// Text returns at most limit bytes of the text, whole characters only, without control characters and
// bytes that are not UTF-8.
func Text(text string, limit int) string {
	text = text[:min(len(text), 4*limit)] // what follows looks at every byte
	text = strings.TrimSpace(strings.Map(func(c rune) rune {
		if c == utf8.RuneError || unicode.IsControl(c) {
			return -1
		}
		return c
	}, text))
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}
