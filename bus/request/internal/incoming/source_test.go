package incoming_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/request/internal/incoming"
)

var trusted = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}

func source(remote string, forwarded bool, lines ...string) string {
	header := http.Header{"X-Forwarded-For": {"198.51.100.99"}, "Forwarded": {"for=198.51.100.99"}}
	if forwarded {
		header["Forwarded"] = lines
	} else {
		header["X-Forwarded-For"] = lines
	}
	return incoming.Proxies{Trusted: trusted, Forwarded: forwarded}.Source(remote, header.Values)
}

func TestSource(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		remote string
		xff    []string
		want   string
	}{
		"no proxy":                                 {"203.0.113.7:5000", nil, "203.0.113.7"},
		"a stranger's word is not taken":           {"203.0.113.7:5000", []string{"1.2.3.4"}, "203.0.113.7"},
		"a proxy's is":                             {"10.0.0.1:80", []string{"203.0.113.7"}, "203.0.113.7"},
		"what the client claimed is left of it":    {"10.0.0.1:80", []string{"1.2.3.4, 203.0.113.7"}, "203.0.113.7"},
		"through several proxies":                  {"10.0.0.1:80", []string{"1.2.3.4, 203.0.113.7,10.1.1.1 , 10.2.2.2"}, "203.0.113.7"},
		"several lines are one list":               {"10.0.0.1:80", []string{"1.2.3.4, 203.0.113.7", "10.1.1.1"}, "203.0.113.7"},
		"a call from inside":                       {"10.0.0.1:80", []string{"10.3.3.3, 10.2.2.2"}, "10.3.3.3"},
		"a proxy that says nothing":                {"10.0.0.1:80", nil, "10.0.0.1"},
		"a proxy that says rubbish":                {"10.0.0.1:80", []string{"203.0.113.7, unknown"}, "10.0.0.1"},
		"rubbish further left":                     {"10.0.0.1:80", []string{"203.0.113.7, _hidden, 10.2.2.2"}, "10.2.2.2"},
		"empty elements":                           {"10.0.0.1:80", []string{"", "203.0.113.7, ,", ","}, "203.0.113.7"},
		"with a port":                              {"10.0.0.1:80", []string{"203.0.113.7:4711"}, "203.0.113.7"},
		"IPv6":                                     {"[fd00::1]:80", []string{"2001:db8::7"}, "2001:db8::7"},
		"IPv6 in brackets":                         {"[fd00::1]:80", []string{"[2001:db8::7]"}, "2001:db8::7"},
		"IPv6 with a port":                         {"[fd00::1]:80", []string{"[2001:DB8:0::7]:4711"}, "2001:db8::7"},
		"IPv6 with a zone":                         {"[fe80::1%eth0]:80", nil, "fe80::1"},
		"a zone in a trusted address":              {"[fd00::1%eth0]:80", []string{"203.0.113.7"}, "203.0.113.7"},
		"IPv4 in IPv6":                             {"[::ffff:10.0.0.1]:80", []string{"::ffff:203.0.113.7"}, "203.0.113.7"},
		"remote without a port":                    {"203.0.113.7", nil, "203.0.113.7"},
		"a unix socket":                            {"@", []string{"203.0.113.7"}, ""},
		"no remote":                                {"", []string{"203.0.113.7"}, ""},
		"IPv4 in brackets is no address":           {"10.0.0.1:80", []string{"[203.0.113.7]:1"}, "10.0.0.1"},
		"an open bracket":                          {"10.0.0.1:80", []string{"[2001:db8::7"}, "10.0.0.1"},
		"something behind the bracket":             {"10.0.0.1:80", []string{"[2001:db8::7]x"}, "10.0.0.1"},
		"a name":                                   {"10.0.0.1:80", []string{"localhost"}, "10.0.0.1"},
		"a script":                                 {"10.0.0.1:80", []string{"<script>alert(1)</script>"}, "10.0.0.1"},
		"leading zeroes, which some read as octal": {"10.0.0.1:80", []string{"0203.0.113.7"}, "10.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.want, source(test.remote, false, test.xff...))
		})
	}
}

func TestForwarded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		lines []string
		want  string
	}{
		"the RFC's own":                         {[]string{"for=192.0.2.43, for=10.2.2.2;proto=http;by=203.0.113.43"}, "192.0.2.43"},
		"names in any case":                     {[]string{`proto=https;FOR="[2001:db8:cafe::17]:4711"`}, "2001:db8:cafe::17"},
		"quoted IPv4 with a port":               {[]string{`for="192.0.2.43:47011"`}, "192.0.2.43"},
		"an obfuscated port":                    {[]string{`for="[2001:db8::17]:_x1"`}, "2001:db8::17"},
		"several lines":                         {[]string{"for=1.2.3.4, for=192.0.2.43", "for=10.2.2.2"}, "192.0.2.43"},
		"a comma in quotes":                     {[]string{`for=1.2.3.4, for=192.0.2.43;ext="a,b;c"`}, "192.0.2.43"},
		"a quote left open further left":        {[]string{`for="1.2.3.4, for=192.0.2.43`}, "192.0.2.43"},
		"a semicolon in quotes is no parameter": {[]string{`host="x;for=192.0.2.43;y"`}, "10.0.0.1"},
		"beside the parameter":                  {[]string{`for=192.0.2.43;host="x;for=1.2.3.4;y"`}, "192.0.2.43"},
		"an escaped quote in quotes":            {[]string{`host="x\";for=1.2.3.4;y="z"`}, "10.0.0.1"},
		"an element in quotes is none":          {[]string{`host="a\",for=1.2.3.4;\""`}, "10.0.0.1"},
		"a backslash at the end of quotes":      {[]string{`for=1.2.3.4, for=192.0.2.43;host="a\\"`}, "192.0.2.43"},
		"unknown":                               {[]string{"for=192.0.2.43, for=unknown"}, "10.0.0.1"},
		"obfuscated":                            {[]string{"for=_gazonk"}, "10.0.0.1"},
		"without for":                           {[]string{"for=192.0.2.43, by=10.2.2.2"}, "10.0.0.1"},
		"twice for":                             {[]string{"for=192.0.2.43;for=192.0.2.44"}, "10.0.0.1"},
		"an escape":                             {[]string{`for="192.0.2\.43"`}, "10.0.0.1"},
		"half a quote":                          {[]string{`for="192.0.2.43`}, "10.0.0.1"},
		"a bare address, as the other header":   {[]string{"192.0.2.43"}, "10.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.want, source("10.0.0.1:80", true, test.lines...))
		})
	}
}

// Whatever a client sends, what a trusted proxy saw and wrote behind it is the answer.
func FuzzSource(f *testing.F) {
	for _, seed := range []string{
		"", ",", "1.2.3.4", "1.2.3.4, 10.0.0.1", `for="`, `for="1.2.3.4, for=1.2.3.4`, `for=1.2.3.4;proto=http`, `"`, `\"`, "[::1", "::ffff:10.0.0.1",
		"[fe80::1%25eth0]:1", "unknown", "_x", strings.Repeat("10.0.0.1,", 50), "\x00\xff", "for=10.0.0.1;for=10.0.0.1", `for="[2001:db8::1]:_p"`,
	} {
		f.Add(seed, "10.0.0.1:80")
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, claim, remote string) {
		const seen = "203.0.113.7"
		for name, lines := range map[string][]string{
			"on the same line":    {claim + ", " + seen},
			"on a line of itself": {claim, seen},
		} {
			require.Equal(t, seen, source("10.0.0.1:80", false, lines...), name)
		}
		for name, lines := range map[string][]string{
			"on the same line":    {claim + ", for=" + seen},
			"on a line of itself": {claim, "for=" + seen},
		} {
			require.Equal(t, seen, source("10.0.0.1:80", true, lines...), name)
		}
		for _, forwarded := range []bool{false, true} {
			require.Equal(t, "198.51.100.1", source("198.51.100.1:80", forwarded, claim))
			for _, remote := range []string{remote, "10.0.0.1:80"} {
				got := source(remote, forwarded, claim)
				if got == "" {
					continue
				}
				addr, err := netip.ParseAddr(got)
				require.NoError(t, err)
				require.Equal(t, addr.Unmap().WithZone("").String(), got)
			}
		}
	})
}
