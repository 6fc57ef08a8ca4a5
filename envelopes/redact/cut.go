package redact

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/tailrace-go/tailrace/internal/jsonscan"
)

const (
	// room is what anything that stands for more needs at least: a marker with a number of 64 bits.
	room = 48
	// tailRoom is what the last member of an object needs that says how much is missing.
	tailRoom = 64
	// longestName is the greatest length of a name in an object that has to be cut.
	longestName = 128
	// deepest is how deep a value is taken apart to be cut. Each level is looked at once more.
	deepest = 64

	cutName = `"[cut]"`
)

// cut returns JSON that is too long within the limit.
func cut(data []byte, limit int) []byte {
	var compact bytes.Buffer
	// It fails only for JSON that is too deep for it, which encoding/json made, without white space.
	if json.Compact(&compact, data) == nil {
		data = compact.Bytes()
	}
	c := cutter{out: make([]byte, 0, limit)}
	c.value(data, limit, 0)
	return c.out
}

type cutter struct{ out []byte }

// value appends v, which has no white space around it, in at most most bytes; most is at least room.
func (c *cutter) value(v []byte, most, depth int) {
	switch {
	case len(v) <= most:
		c.out = append(c.out, v...)
	case v[0] == '"':
		c.text(v, most)
	case (v[0] == '{' || v[0] == '[') && depth < deepest:
		c.container(v, most, depth)
	default:
		c.missing(len(v))
	}
}

func (c *cutter) missing(n int) {
	c.out = append(c.out, `"[`...)
	c.out = strconv.AppendInt(c.out, int64(n), 10)
	c.out = append(c.out, ` bytes left out]"`...)
}

// text cuts a string after a whole character, and says how many bytes of its UTF-8 are missing.
func (c *cutter) text(v []byte, most int) {
	const around = len(`"… [ bytes left out]"`)
	end := len(v) - 1
	keep := most - around - len(strconv.Itoa(len(v)))
	at := 1
	for at < end {
		next, _ := character(v, at)
		if next > 1+keep {
			break
		}
		at = next
	}
	left := 0
	for i := at; i < end; {
		next, size := character(v, i)
		left += size
		i = next
	}
	c.out = append(c.out, v[:at]...)
	c.out = append(c.out, "… ["...)
	c.out = strconv.AppendInt(c.out, int64(left), 10)
	c.out = append(c.out, ` bytes left out]"`...)
}

// character returns the place after the character at v[at] in a JSON string, and its size in UTF-8.
func character(v []byte, at int) (next, size int) {
	if v[at] != '\\' {
		_, size := utf8.DecodeRune(v[at:])
		return at + size, size
	}
	if v[at+1] != 'u' {
		return at + 2, 1
	}
	high := hex(v[at+2 : at+6])
	if high >= 0xd800 && high < 0xdc00 && v[at+6] == '\\' && v[at+7] == 'u' {
		if low := hex(v[at+8 : at+12]); low >= 0xdc00 && low < 0xe000 {
			return at + 12, 4
		}
	}
	if high >= 0xd800 && high < 0xe000 {
		// Half a pair decodes as U+FFFD.
		return at + 6, len("\ufffd")
	}
	return at + 6, utf8.RuneLen(high)
}

func hex(digits []byte) rune {
	value, _ := strconv.ParseUint(string(digits), 16, 32)
	return rune(value) //nolint:gosec // Four digits.
}

// part is a member of an object, or an item of an array, which has no name.
type part struct{ name, value []byte }

// container keeps as many members as there is room for, in order. Of the room, each gets what it needs or
// the same share, so that one huge member does not push out the small ones.
func (c *cutter) container(v []byte, most, depth int) {
	parts, rest := split(v, most-2-tailRoom)
	if len(parts) == 0 {
		c.missing(len(v))
		return
	}
	free := most - 2
	if rest > 0 {
		free -= tailRoom
	}
	lengths := make([]int, len(parts))
	for i, p := range parts {
		lengths[i] = len(p.value)
		free -= p.around()
	}
	share := level(lengths, free)
	c.out = append(c.out, v[0])
	for i, p := range parts {
		if i > 0 {
			c.out = append(c.out, ',')
		}
		if p.name != nil {
			c.value(p.name, longestName, depth)
			c.out = append(c.out, ':')
		}
		c.value(p.value, share, depth+1)
	}
	if rest > 0 {
		c.out = append(c.out, ',')
		if v[0] == '{' {
			c.out = append(c.out, cutName+":"...)
		}
		c.missing(rest)
	}
	// The brackets' codes are two apart.
	c.out = append(c.out, v[0]+2)
}

// around is what a member takes besides its value: its name, colon and comma.
func (p part) around() int {
	if p.name == nil {
		return 1
	}
	return min(len(p.name), longestName) + 2
}

// split returns as many parts as there is room for, each in its least form, and the length of the others.
func split(v []byte, free int) (parts []part, rest int) {
	for at := 1; at < len(v)-1; {
		start := at
		var p part
		if v[0] == '{' {
			end := jsonscan.String(v, at)
			p.name = v[at:end]
			at = end + 1
		}
		end := jsonscan.Value(v, at)
		p.value = v[at:end]
		free -= p.around() + min(len(p.value), room)
		if free < 0 {
			return parts, len(v) - 1 - start
		}
		parts = append(parts, p)
		// Over the comma.
		at = end + 1
	}
	return parts, 0
}

// level returns the greatest share at which lengths, each cut to it, fit into free.
func level(lengths []int, free int) int {
	slices.Sort(lengths)
	for i, length := range lengths {
		share := free / (len(lengths) - i)
		if length > share {
			return share
		}
		free -= length
	}
	return free + lengths[len(lengths)-1]
}
