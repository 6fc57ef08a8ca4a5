package topics

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// MaxLength is the greatest length of a topic name, in characters (Kafka's org.apache.kafka.common.internals.Topic).
const MaxLength = 249

// ErrInvalid is what every [*NameError] unwraps to.
var ErrInvalid = errors.New("topics: invalid topic name")

// NameError says which part of a topic name Kafka would refuse, and why.
type NameError struct {
	// Part is the part at fault: "prefix", "service", "aggregate type", "event type", "topic", "audit
	// topic", "notification topic" or "dead-letter topic".
	Part string
	// Value is that part as given.
	Value string
	// Character is the first illegal character, and Position its place in Value, counted in characters
	// from 1. Position is 0 when no single character is at fault.
	Character rune
	Position  int

	reason reason
	total  int
	byte   byte
}

type reason uint8

const (
	reasonCharacter reason = iota
	reasonByte
	reasonEmpty
	reasonLength
	reasonDots
)

// Error names the part, the character and its position, and what is allowed.
func (e *NameError) Error() string {
	switch e.reason {
	case reasonEmpty:
		return fmt.Sprintf("topics: %s is empty: give it a name of letters, digits, '.', '_' and '-'", e.Part)
	case reasonLength:
		return fmt.Sprintf("topics: %s %s makes a topic name of %d characters, Kafka allows %d: shorten it by %d",
			e.Part, quote(e.Value), e.total, MaxLength, e.total-MaxLength)
	case reasonDots:
		return fmt.Sprintf("topics: %s %q cannot be a topic name of its own: set a prefix or another name", e.Part, e.Value)
	case reasonByte:
		return fmt.Sprintf("topics: %s %s has the byte 0x%02x, which is not UTF-8, at position %d: Kafka allows letters, digits, '.', '_' and '-'",
			e.Part, quote(e.Value), e.byte, e.Position)
	default:
		return fmt.Sprintf("topics: %s %s has %s at position %d: Kafka allows letters, digits, '.', '_' and '-'",
			e.Part, quote(e.Value), character(e.Character), e.Position)
	}
}

// Unwrap returns [ErrInvalid].
func (e *NameError) Unwrap() error { return ErrInvalid }

// Check reports why Kafka would refuse name, which is a complete topic name with its prefix, as a
// [*NameError].
func Check(name string) error {
	_, err := Naming{}.Custom(name)
	return err
}

func checkPart(what, value string) error {
	if value == "" {
		return &NameError{Part: what, reason: reasonEmpty}
	}
	for i := range len(value) {
		if legal(value[i]) {
			continue
		}
		// Everything before i is ASCII, so bytes and characters count the same.
		char, size := utf8.DecodeRuneInString(value[i:])
		fault := &NameError{Part: what, Value: value, Character: char, Position: i + 1}
		if char == utf8.RuneError && size == 1 {
			fault.reason, fault.byte = reasonByte, value[i]
		}
		return fault
	}
	return nil
}

func legal(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
}

// character adds the code point where the glyph alone may look legal, as the Kelvin sign does.
func character(c rune) string {
	if c < utf8.RuneSelf {
		return fmt.Sprintf("%q", c)
	}
	return fmt.Sprintf("%q (%U)", c, c)
}

// quote keeps an error readable when a whole document was given for a name.
func quote(value string) string {
	const most = 64
	runes := []rune(value)
	if len(runes) > most {
		return fmt.Sprintf("%q…", string(runes[:most]))
	}
	return fmt.Sprintf("%q", value)
}
