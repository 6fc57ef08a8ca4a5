// Package jsonscan tells what is JSON, and finds its way through it without copying or decoding. All but
// [Valid] ask for JSON that was found valid.
package jsonscan

// Space returns the place of the first byte that is not white space, from data[at] on.
func Space(data []byte, at int) int {
	for at < len(data) && (data[at] == ' ' || data[at] == '\n' || data[at] == '\t' || data[at] == '\r') {
		at++
	}
	return at
}

// String returns the place after the string that starts at data[at].
func String(data []byte, at int) int {
	for at++; data[at] != '"'; at++ {
		if data[at] == '\\' {
			at++
		}
	}
	return at + 1
}

// Value returns the place after the value that starts at data[at].
func Value(data []byte, at int) int {
	switch data[at] {
	case '"':
		return String(data, at)
	case '{', '[':
		for depth := 0; ; {
			switch data[at] {
			case '"':
				at = String(data, at)
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
