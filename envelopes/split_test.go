package envelopes_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/envelopes"
)

// asEncodingJSONHasIt takes an envelope apart with maps of encoding/json.
type asEncodingJSONHasIt struct {
	metadata, headers, payload map[string]json.RawMessage
}

func takeApart(data []byte) (parts asEncodingJSONHasIt, ok bool) {
	var outer map[string]json.RawMessage
	if json.Unmarshal(data, &outer) != nil {
		return parts, false
	}
	if json.Unmarshal(outer["metadata"], &parts.metadata) != nil {
		return parts, false
	}
	_ = json.Unmarshal(parts.metadata["custom_headers"], &parts.headers)
	_ = json.Unmarshal(outer["payload"], &parts.payload)
	return parts, true
}

// requireSameAsEncodingJSON compares what Decode found with what encoding/json finds.
func requireSameAsEncodingJSON(t *testing.T, data []byte, got envelopes.Envelope) {
	t.Helper()
	parts, ok := takeApart(data)
	require.True(t, ok)
	str := func(raw json.RawMessage) (s string) {
		if raw != nil {
			require.NoError(t, json.Unmarshal(raw, &s))
		}
		return s
	}
	require.Equal(t, str(parts.metadata["event_id"]), got.Metadata.EventID)
	require.Equal(t, str(parts.metadata["user_agent"]), got.Metadata.UserAgent)
	require.Len(t, got.Metadata.CustomHeaders, len(parts.headers))
	for name, value := range parts.headers {
		require.Equal(t, str(value), got.Metadata.CustomHeaders[name])
	}
	domain, err := got.Domain()
	if err != nil {
		return
	}
	require.Equal(t, str(parts.payload["aggregate_id"]), domain.AggregateID)
	if data := parts.payload["event_data"]; len(data) > 0 && data[0] == '{' {
		require.Equal(t, data, domain.EventData)
	}
}

func TestFieldsAreFoundAsEncodingJSONFindsThem(t *testing.T) {
	t.Parallel()
	const metadata = `"metadata":{"event_id":"e","timestamp":"2024-07-15T00:00:00Z","service_name":"s"`
	for what, data := range map[string]string{
		"the last of two":        `{` + metadata + `,"event_id":"f"},"event_type":"t","payload":{"aggregate_type":"a","aggregate_id":"1","aggregate_id":"2"}}`,
		"escaped names":          `{` + metadata + `,"user\u005fagent":"x","custom_headers":{"\u00e9\"":"\\\"","":""}},"event_type":"t","payload":{}}`,
		"quotes and braces":      `{` + metadata + `},"event_type":"t","payload":{"aggregate_type":"a","aggregate_id":"}\"]","event_data":{"x":"{[\\","y":[{"z":"]}"}]}}}`,
		"space wherever it fits": " {\n" + metadata + " }\t,\r\"event_type\" : \"t\" , \"payload\" : { \"aggregate_type\" : \"a\" ,\"aggregate_id\":\"1\" , \"event_data\" : { } } } ",
		"numbers and literals":   `{` + metadata + `},"event_type":"t","payload":{"a":-1.5e+3,"b":true ,"c":null,"aggregate_type":"a","aggregate_id":"1","event_version":7}}`,
	} {
		t.Run(what, func(t *testing.T) {
			envelope, err := envelopes.Decode([]byte(data))
			require.NoError(t, err)
			requireSameAsEncodingJSON(t, []byte(data), envelope)
		})
	}
}

func TestDecodingKeepsNothingOfTheCallersBuffer(t *testing.T) {
	t.Parallel()
	data := readSample(t, "domain")
	envelope, err := envelopes.Decode(data)
	require.NoError(t, err)
	clear(data)
	event, err := envelope.Domain()
	require.NoError(t, err)
	require.Equal(t, "user-123", event.AggregateID)
	require.Equal(t, "user-service", event.Metadata.ServiceName)
}
