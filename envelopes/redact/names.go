package redact

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
)

// builtin are the names that say secret, their words run together.
var builtin = []string{
	"password", "passwd", "passphrase", "pwd", "secret", "token", "apikey", "secretkey", "privatekey", "accesskey",
	"authorization", "credential", "jwt", "ssn", "socialsecuritynumber", "cardnumber", "creditcard", "cvv", "cvc",
}

// anywhere stand for themselves within a longer word, as in "userpasswordhash": nothing harmless has them.
var anywhere = []string{"password", "passwd", "passphrase"}

// endings count where a word ends with them, as in "accesstoken". The shorter names do not: words that end
// in "ssn" or begin with "secret" are mostly harmless.
var endings = []string{"secret", "token", "apikey", "secretkey", "privatekey", "accesskey", "authorization", "credential", "cardnumber", "creditcard"}

// matcher knows which names say secret.
type matcher struct {
	terms   nameSet
	except  nameSet
	longest int
	// within are the terms of scripts that put no mark between words; they count anywhere in a name.
	within []string

	// known remembers verdicts; it is replaced, never changed, so that reading it takes no lock.
	known atomic.Pointer[map[string]bool]
	mu    sync.Mutex
}

type nameSet map[string]struct{}

// Names may come from outside, as the keys of a map do, so what is remembered is bounded.
const (
	mostKnown     = 1024
	longestCached = 64
)

func newMatcher(names, except []string) (*matcher, error) {
	m := &matcher{terms: nameSet{}, except: nameSet{}}
	m.known.Store(&map[string]bool{})
	for _, name := range builtin {
		m.add(name)
	}
	var faults []error
	for i, name := range names {
		term := fold(name)
		if term == "" {
			faults = append(faults, fmt.Errorf("%w: Names[%d] has no letter and no digit: write the name of a field", ErrConfig, i))
			continue
		}
		m.add(term)
		if wordless(term) {
			m.within = append(m.within, term)
		}
	}
	for i, name := range except {
		folded := fold(name)
		if folded == "" {
			faults = append(faults, fmt.Errorf("%w: Except[%d] has no letter and no digit: write the name of a field", ErrConfig, i))
			continue
		}
		m.except[folded] = struct{}{}
	}
	return m, errors.Join(faults...)
}

func (m *matcher) add(term string) {
	m.terms[term] = struct{}{}
	m.longest = max(m.longest, len(term)+1)
}

// secret says whether a field of this name is secret.
func (m *matcher) secret(name []byte) bool {
	if verdict, known := (*m.known.Load())[string(name)]; known {
		return verdict
	}
	text := string(name)
	verdict := m.judge(text)
	if len(text) <= longestCached {
		m.remember(text, verdict)
	}
	return verdict
}

func (m *matcher) remember(name string, verdict bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := *m.known.Load()
	if len(old) >= mostKnown {
		return
	}
	fresh := maps.Clone(old)
	fresh[name] = verdict
	m.known.Store(&fresh)
}

func (m *matcher) judge(name string) bool {
	if len(m.except) > 0 {
		if _, is := m.except[fold(name)]; is {
			return false
		}
	}
	text, starts := words(name)
	for _, term := range m.within {
		if strings.Contains(text, term) {
			return true
		}
	}
	for i := range starts[:len(starts)-1] {
		// Each run of words from here on: "api key" is "apikey", and so is "API_Keys".
		for _, end := range starts[i+1:] {
			if end-starts[i] > m.longest {
				break
			}
			if m.term(text[starts[i]:end]) {
				return true
			}
		}
		if compound(text[starts[i]:starts[i+1]]) {
			return true
		}
	}
	return false
}

func (m *matcher) term(run string) bool {
	if _, is := m.terms[run]; is {
		return true
	}
	_, is := m.terms[strings.TrimSuffix(run, "s")]
	return is
}

// compound says that a word is made of several, one of which says secret.
func compound(word string) bool {
	for _, part := range anywhere {
		if strings.Contains(word, part) {
			return true
		}
	}
	word = strings.TrimSuffix(word, "s")
	for _, end := range endings {
		if strings.HasSuffix(word, end) {
			return true
		}
	}
	return false
}

// wordless says that a term has letters of a script without upper and lower case, and no others: where a word
// of it ends within a name, nothing tells.
func wordless(term string) bool {
	is := false
	for _, c := range term {
		if unicode.IsUpper(c) || unicode.IsLower(c) {
			return false
		}
		is = is || unicode.IsLetter(c)
	}
	return is
}

// words returns the words of a name in lower case, run together, and where each begins, with the end as
// the last. A word ends where letters become digits or the reverse, before an upper-case letter after a
// lower-case one ("apiKey"), before the last of several upper-case letters that a lower-case one follows
// ("APIKey"), and at anything that is neither letter nor digit.
func words(name string) (text string, starts []int) {
	var b strings.Builder
	runes := []rune(name)
	open := false
	for i, c := range runes {
		if !unicode.IsLetter(c) && !unicode.IsDigit(c) {
			open = false
			continue
		}
		if open {
			before := runes[i-1]
			switch {
			case unicode.IsDigit(c) != unicode.IsDigit(before),
				unicode.IsUpper(c) && unicode.IsLower(before),
				unicode.IsUpper(c) && unicode.IsUpper(before) && i+1 < len(runes) && unicode.IsLower(runes[i+1]):
				open = false
			}
		}
		if !open {
			starts = append(starts, b.Len())
			open = true
		}
		b.WriteRune(lower(c))
	}
	return b.String(), append(starts, b.Len())
}

// fold returns a name's letters and digits in lower case.
func fold(name string) string {
	text, _ := words(name)
	return text
}

// lower goes by way of upper case, since encoding/json takes "ſ" and the Kelvin sign in names for s and k.
func lower(c rune) rune { return unicode.ToLower(unicode.ToUpper(c)) }
