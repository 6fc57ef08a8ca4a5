package incoming

import (
	"net/netip"
	"slices"
	"strings"
)

// Proxies are the proxies whose word is taken for where a request came from.
type Proxies struct {
	Trusted []netip.Prefix
	// Forwarded says that they write Forwarded (RFC 7239), not X-Forwarded-For. Only one is ever read: a
	// proxy leaves the other as its client sent it.
	Forwarded bool
}

// Source returns the address a request came from, "" when even the other end of the connection has none.
//
// Each proxy adds to the right of the header the address it was called from, so it is read from the right,
// for as long as who added an entry is trusted: what stands left of the first address that is not was written
// by whoever had that one. An entry that is no address ends the walk at the one before it.
func (p Proxies) Source(remote string, values func(name string) []string) string {
	nearest, ok := node(remote)
	if !ok {
		return ""
	}
	if !p.trusts(nearest) {
		return nearest.String()
	}
	name, next := "X-Forwarded-For", lastOfList
	if p.Forwarded {
		name, next = "Forwarded", lastForwarded
	}
	for _, line := range slices.Backward(values(name)) {
		for more := true; more; {
			var entry string
			entry, line, more = next(line)
			if strings.TrimSpace(entry) == "" { // an empty element of a list is none (RFC 9110, 5.6.1)
				continue
			}
			if p.Forwarded {
				entry = forNode(entry)
			}
			addr, ok := node(entry)
			if !ok {
				return nearest.String()
			}
			if nearest = addr; !p.trusts(addr) {
				return nearest.String()
			}
		}
	}
	return nearest.String()
}

func (p Proxies) trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(p.Trusted, func(network netip.Prefix) bool { return network.Contains(addr) })
}

// node reads an address with or without a port, IPv6 with or without brackets. The zone, which means
// nothing to anybody else, is left out, and IPv4 in IPv6 is IPv4.
func node(text string) (netip.Addr, bool) {
	text = strings.TrimSpace(text)
	if inside, ok := strings.CutPrefix(text, "["); ok {
		address, port, closed := strings.Cut(inside, "]")
		if !closed || !strings.Contains(address, ":") || port != "" && port[0] != ':' {
			return netip.Addr{}, false
		}
		text = address
	} else if address, port, ok := strings.Cut(text, ":"); ok && !strings.Contains(port, ":") {
		text = address
	}
	addr, err := netip.ParseAddr(text)
	return addr.WithZone("").Unmap(), err == nil
}

// lastOfList cuts the last element off a list.
func lastOfList(list string) (last, rest string, more bool) {
	if comma := strings.LastIndexByte(list, ','); comma >= 0 {
		return list[comma+1:], list[:comma], true
	}
	return list, "", false
}

// lastForwarded is lastOfList where quoted strings may hold commas. It starts from the right too: a
// quote that a client left open must not swallow what a proxy wrote behind it.
func lastForwarded(list string) (last, rest string, more bool) {
	quoted := false
	for i := len(list) - 1; i >= 0; i-- {
		switch list[i] {
		case '"':
			before := strings.TrimRight(list[:i], `\`)
			if escaped := (i-len(before))%2 == 1; !escaped {
				quoted = !quoted
			}
		case ',':
			if !quoted {
				return list[i+1:], list[:i], true
			}
		}
	}
	return list, "", false
}

// forNode returns the for parameter of an element of Forwarded, "-" if it has not exactly one.
func forNode(element string) string {
	const none = "-"
	found := none
	for element != "" {
		var pair string
		pair, element = firstParameter(element)
		name, value, _ := strings.Cut(pair, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "for") {
			continue
		}
		if found != none {
			return none
		}
		found = strings.TrimSpace(value)
		if inside, ok := strings.CutPrefix(found, `"`); ok {
			// No address needs an escape, so a backslash is left to be no address.
			if found, ok = strings.CutSuffix(inside, `"`); !ok {
				return none
			}
		}
	}
	return found
}

// firstParameter cuts the first parameter off an element. What is quoted may be a client's: a proxy writes
// host as it was told.
func firstParameter(element string) (first, rest string) {
	quoted := false
	for i := 0; i < len(element); i++ {
		switch c := element[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == ';' && !quoted:
			return element[:i], element[i+1:]
		}
	}
	return element, ""
}
