package envelopes_test

import (
	"net/url"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tailrace-go/tailrace/envelopes"
)

func TestCloudEventsAttributes(t *testing.T) {
	t.Parallel()
	event := sampleDomain()
	header := map[string]string{}
	envelopes.CloudEvents(header, &event.Metadata, event)
	require.Equal(t, map[string]string{
		"ce_specversion": "1.0", "ce_id": "0190b5c2-7d3e-7a41-9c55-2f6d0e8b1a03", "ce_source": "/user-service",
		"ce_type": "user_created", "ce_time": "2024-07-15T09:30:00.123456Z", "ce_subject": "user-123",
		"content-type": "application/json",
	}, header)

	custom := samples()["custom"]
	header = map[string]string{}
	metadata := custom.Meta()
	envelopes.CloudEvents(header, &metadata, custom)
	require.NotContains(t, header, "ce_subject", "an optional attribute without a value is absent, never empty")
}

func TestSourceIsAlwaysAURIReference(t *testing.T) {
	t.Parallel()
	require.Equal(t, "/user%20service", envelopes.Source("user service"))
	require.Equal(t, "/%2Fetc%2F..", envelopes.Source("/etc/.."), "no second segment, no authority")
	require.Equal(t, "/a%25b%3Fc%23d", envelopes.Source("a%b?c#d"))
	rapid.Check(t, func(t *rapid.T) {
		service := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "//host", "http://x", ":", "é", "\xff", "\x00\n"})).Draw(t, "service")
		parsed, err := url.Parse(envelopes.Source(service))
		require.NoError(t, err)
		require.Empty(t, parsed.Host)
		require.Empty(t, parsed.RawQuery)
		require.Empty(t, parsed.Fragment)
		require.Equal(t, "/"+service, parsed.Path, "and it reads back")
		for _, c := range envelopes.Source(service) {
			require.Less(t, c, unicode.MaxASCII)
		}
	})
}

func TestHeaderValuesArePrintable(t *testing.T) {
	t.Parallel()
	require.Equal(t, "Zoë 100% 世界", envelopes.HeaderValue("Zoë 100% 世界"), "UTF-8 stays as it is")
	require.Equal(t, "a%0Ab%00%7F%FF%C2%85", envelopes.HeaderValue("a\nb\x00\x7f\xff\u0085"))
	require.Equal(t, "\ufffd", envelopes.HeaderValue("\ufffd"), "a replacement character is a character")
	rapid.Check(t, func(t *rapid.T) {
		bytes := rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
		value := envelopes.HeaderValue(string(bytes))
		require.True(t, utf8.ValidString(value))
		require.Equal(t, -1, strings.IndexFunc(value, unicode.IsControl))
	})
}

func TestTraceParent(t *testing.T) {
	t.Parallel()
	metadata := sampleMetadata("id")
	require.Equal(t, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", metadata.TraceParent(1))
	for what, broken := range map[string][2]string{
		"no span": {metadata.TraceID, ""}, "no trace": {"", metadata.SpanID}, "short": {"abc", metadata.SpanID},
		"upper case": {strings.ToUpper(metadata.TraceID), metadata.SpanID}, "zeros": {strings.Repeat("0", 32), metadata.SpanID},
		"not hex": {strings.Repeat("z", 32), metadata.SpanID},
	} {
		broken := envelopes.Metadata{TraceID: broken[0], SpanID: broken[1]}
		require.Empty(t, broken.TraceParent(1), what)
	}
}
