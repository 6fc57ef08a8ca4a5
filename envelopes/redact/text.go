package redact

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tailrace-go/tailrace/internal/jsonscan"
)

var (
	// assignment is name=value, and "name": value as in JSON, the value quoted or up to what ends it.
	assignment = regexp.MustCompile(`([\pL\d_.\-]+)(["']?\s*=\s*|["']\s*:\s*)(\[redacted\]|"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|[^\s&;,"')}\]]+)`)
	// credentials are those of HTTP's Authorization (RFC 9110), long enough not to be an ordinary word.
	credentials = regexp.MustCompile(`(?i)\b((?:bearer|basic)\s+)[A-Za-z0-9._~+/=\-]{16,}`)
	// userinfo is the password in a URL (RFC 3986, 3.2.1), up to the last @: those that people write into a
	// connection string are often not encoded.
	userinfo = regexp.MustCompile(`(://[^/\s:@]*:)[^/\s]+(@)`)
)

// Text returns a text for people, such as an error's, without the secrets it may quote: what r leaves out
// of the values that the text is about, the value of name=value and of "name": value if the name says
// secret, the password of a URL and what follows Bearer and Basic. It is cut to the limit.
//
// A text may quote what nobody can recognise; this is a net, not a proof.
func (r *Redactor) Text(text string, values ...any) string {
	if r.names == nil {
		return text
	}
	for _, secret := range r.secrets(values) {
		text = without(text, secret)
	}
	text = assignment.ReplaceAllStringFunc(text, func(match string) string {
		parts := assignment.FindStringSubmatch(match)
		if !r.names.secret([]byte(parts[1])) {
			return match
		}
		return parts[1] + parts[2] + Mark
	})
	text = credentials.ReplaceAllString(text, "${1}"+Mark)
	text = userinfo.ReplaceAllString(text, "${1}"+Mark+"${2}")
	if r.limit >= 0 && len(text) > r.limit {
		text = shortened(text, r.limit)
	}
	return text
}

// secrets returns what JSON leaves out of the values, as a text may have it, the longest first.
func (r *Redactor) secrets(values []any) []string {
	var found []string
	for _, value := range values {
		p := passes.Get().(*pass)
		if p.encode(value) == nil {
			p.found = func(secret []byte) { found = scalars(secret, found) }
			p.run(r.names, typeNode(reflect.TypeOf(value)), reflect.ValueOf(value))
		}
		p.release()
	}
	slices.SortFunc(found, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	return slices.Compact(found)
}

// scalars adds each string and number in the JSON.
func scalars(data []byte, found []string) []string {
	for at := jsonscan.Space(data, 0); at < len(data); {
		switch c := data[at]; {
		case c == '"':
			end := jsonscan.String(data, at)
			var text string
			// It cannot fail: it is a string in valid JSON.
			_ = json.Unmarshal(data[at:end], &text)
			quoted := strconv.Quote(text)
			for _, form := range []string{text, string(data[at+1 : end-1]), quoted[1 : len(quoted)-1], url.QueryEscape(text), url.PathEscape(text)} {
				if form != "" {
					found = append(found, form)
				}
			}
			at = end
		case c == '-' || c >= '0' && c <= '9':
			end := jsonscan.Value(data, at)
			found = append(found, string(data[at:end]))
			at = end
		default:
			at++
		}
	}
	return found
}

// without replaces a secret; a short one only where it stands alone, lest words fall apart.
func without(text, secret string) string {
	const short = 6
	if len(secret) >= short {
		return strings.ReplaceAll(text, secret, Mark)
	}
	var b bytes.Buffer
	for {
		at := strings.Index(text, secret)
		if at < 0 {
			b.WriteString(text)
			return b.String()
		}
		end := at + len(secret)
		before, _ := utf8.DecodeLastRuneInString(text[:at])
		after, _ := utf8.DecodeRuneInString(text[end:])
		if at > 0 && wordly(before) || end < len(text) && wordly(after) {
			_, size := utf8.DecodeRuneInString(text[at:])
			end = at + size
			b.WriteString(text[:end])
		} else {
			b.WriteString(text[:at])
			b.WriteString(Mark)
		}
		text = text[end:]
	}
}

func wordly(c rune) bool { return unicode.IsLetter(c) || unicode.IsDigit(c) }

// shortened cuts a text after a whole character.
func shortened(text string, limit int) string {
	keep := limit - room
	for keep > 0 && !utf8.RuneStart(text[keep]) {
		keep--
	}
	return text[:keep] + "… [" + strconv.Itoa(len(text)-keep) + " bytes left out]"
}
