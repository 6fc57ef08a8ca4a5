package envelopes_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/envelopes"
)

const secret = "hunter2"

func TestUnknownFieldsAreTolerated(t *testing.T) {
	t.Parallel()
	data := strings.NewReplacer(
		`"metadata": {`, `"metadata": {"tenant": {"id": 1},`,
		`"payload": {`, `"payload": {"extra": [1],`,
		`"event_type": "user_created",
  "payload"`, `"more": null, "event_type": "user_created", "payload"`,
	).Replace(string(readSample(t, "domain")))
	envelope, err := envelopes.Decode([]byte(data))
	require.NoError(t, err)
	_, err = envelope.Domain()
	require.NoError(t, err)
}

func TestWhatCannotBeAnEvent(t *testing.T) {
	t.Parallel()
	sample := string(readSample(t, "domain"))
	replaced := func(old, with string) string {
		require.Contains(t, sample, old)
		return strings.Replace(sample, old, with, 1)
	}
	for what, c := range map[string]struct{ data, want string }{
		"nothing":                {"", "the event is empty"},
		"only space":             {" \n", "the event is empty"},
		"null":                   {"null", "the event is null"},
		"an array":               {"[]", "the event is an array"},
		"a string":               {`"hunter2"`, "the event is a string"},
		"half":                   {sample[:len(sample)/2], "is not JSON"},
		"two":                    {sample + sample, "is not JSON"},
		"NaN, as Python has it":  {replaced(`"user@example.com"`, "NaN"), "it has NaN at byte"},
		"Infinity":               {replaced(`"user@example.com"`, "Infinity"), "it has Infinity at byte"},
		"-Infinity":              {replaced(`"user@example.com"`, "-Infinity"), "it has -Infinity at byte"},
		"no metadata":            {replaced(`"metadata"`, `"metadatum"`), "metadata is missing"},
		"metadata of wrong type": {`{"metadata": "hunter2", "event_type": "a", "payload": {}}`, "metadata is a string"},
		"no event id":            {replaced(`"event_id"`, `"event_idea"`), "metadata.event_id is missing"},
		"null event id":          {replaced(`"0190b5c2-7d3e-7a41-9c55-2f6d0e8b1a03"`, "null"), "metadata.event_id is missing"},
		"empty event id":         {replaced(`"0190b5c2-7d3e-7a41-9c55-2f6d0e8b1a03"`, `""`), "metadata.event_id is empty"},
		"number for event id":    {replaced(`"0190b5c2-7d3e-7a41-9c55-2f6d0e8b1a03"`, "777888"), "metadata.event_id is a number, where a string belongs"},
		"no timestamp":           {replaced(`"timestamp"`, `"time"`), "metadata.timestamp is missing"},
		"no time":                {replaced(`2024-07-15T09:30:00.123456+00:00`, "hunter2"), "metadata.timestamp is not an RFC 3339 time"},
		"a naive time":           {replaced(`09:30:00.123456+00:00`, "09:30:00"), "metadata.timestamp is not an RFC 3339 time"},
		"no service":             {replaced(`"service_name"`, `"svc"`), "metadata.service_name is missing"},
		"no event type": {replaced(`"event_type": "user_created",
  "payload"`, `"payload"`), "event_type is missing"},
		"names match exactly": {replaced(`"payload"`, `"Payload"`), "payload is missing"},
		"headers of numbers":  {replaced(`"custom_headers": {}`, `"custom_headers": {"hunter2": 777888}`), "metadata.custom_headers has a value that is not a string"},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := envelopes.Decode([]byte(c.data))
			require.ErrorIs(t, err, envelopes.ErrInvalid)
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), secret)
			require.NotContains(t, err.Error(), "777888")
			var field *envelopes.FieldError
			require.ErrorAs(t, err, &field)
		})
	}
}

func TestWhatCannotBeAPayload(t *testing.T) {
	t.Parallel()
	audit := func(e envelopes.Envelope) error { _, err := e.Audit(); return err }
	notification := func(e envelopes.Envelope) error { _, err := e.Notification(); return err }
	domain := func(e envelopes.Envelope) error { _, err := e.Domain(); return err }
	for what, c := range map[string]struct {
		sample, old, with string
		decode            func(envelopes.Envelope) error
		want              string
	}{
		"no action":                {"audit", `"action"`, `"act"`, audit, "payload.action is missing"},
		"no resource type":         {"audit", `"resource_type"`, `"rt"`, audit, "payload.resource_type is missing"},
		"success as a string":      {"audit", `"success": true`, `"success": "hunter2"`, audit, "payload.success is a string, where true or false belongs"},
		"details as a string":      {"audit", `"security_context": {}`, `"security_context": "hunter2"`, audit, "payload.security_context is a string, where an object belongs"},
		"tags as a string":         {"audit", `"compliance_tags": []`, `"compliance_tags": "hunter2"`, audit, "payload.compliance_tags is a string, where an array belongs"},
		"a tag as a number":        {"audit", `"compliance_tags": []`, `"compliance_tags": ["a", 777888]`, audit, "payload.compliance_tags[1] is a number, where a string belongs"},
		"no recipient type":        {"notification", `"recipient_type"`, `"rt"`, notification, "payload.recipient_type is missing"},
		"recipients as an object":  {"notification", `"channels": [`, `"channels": {}, "x": [`, notification, "payload.channels is an object"},
		"delivery time":            {"notification", `"delivery_time": null`, `"delivery_time": "hunter2"`, notification, "payload.delivery_time is not an RFC 3339 time"},
		"no aggregate type":        {"domain", `"aggregate_type"`, `"at"`, domain, "payload.aggregate_type is missing"},
		"no aggregate id":          {"domain", `"aggregate_id"`, `"ai"`, domain, "payload.aggregate_id is missing"},
		"aggregate id as a number": {"domain", `"user-123"`, `777888`, domain, "payload.aggregate_id is a number, where a string belongs"},
		"version as a string":      {"domain", `"event_version": 1`, `"event_version": "1"`, domain, "payload.event_version is a string, where a whole number"},
		"version as a fraction":    {"domain", `"event_version": 1`, `"event_version": 1.5`, domain, "payload.event_version is a number, where a whole number"},
		"event data as an array":   {"domain", `"event_data": {`, `"event_data": [], "x": {`, domain, "payload.event_data is an array, where an object belongs"},
		"inner event type a number": {"domain", `"event_type": "user_created",
    "event_version"`, `"event_type": 1, "event_version"`, domain, "payload.event_type is a number"},
		"a domain event as audit": {"domain", `"user-123"`, `"user-123"`, audit, "payload.action is missing"},
		"a list payload":          {"custom", `"payload": {`, `"payload": [], "x": {`, domain, "payload is an array"},
	} {
		t.Run(what, func(t *testing.T) {
			sample := string(readSample(t, c.sample))
			require.Contains(t, sample, c.old)
			envelope, err := envelopes.Decode([]byte(strings.Replace(sample, c.old, c.with, 1)))
			require.NoError(t, err)
			err = c.decode(envelope)
			require.ErrorIs(t, err, envelopes.ErrInvalid)
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), secret)
			require.NotContains(t, err.Error(), "777888")
		})
	}
}

func TestAllFaultsOfARecordAtOnce(t *testing.T) {
	t.Parallel()
	_, err := envelopes.Decode([]byte(`{"metadata": {"timestamp": 1, "priority": []}}`))
	for _, field := range []string{"metadata.event_id", "metadata.timestamp", "metadata.service_name", "metadata.priority", "event_type", "payload"} {
		require.ErrorContains(t, err, "envelopes: "+field+" ")
	}
}

func TestNoDigitIsLost(t *testing.T) {
	t.Parallel()
	type account struct {
		Balance int64 `json:"balance"`
	}
	const beyondFloat = int64(math.MaxInt64 - 1)
	event := sampleDomain()
	event.EventData = account{beyondFloat}
	encoded, err := envelopes.Encode(event)
	require.NoError(t, err)

	envelope, err := envelopes.Decode(encoded)
	require.NoError(t, err)
	decoded, err := envelope.Domain()
	require.NoError(t, err)
	require.IsType(t, json.RawMessage{}, decoded.EventData, "raw until a type is known")

	again, err := envelopes.Encode(decoded)
	require.NoError(t, err)
	require.Equal(t, string(encoded), string(again), "publishing what was read changes nothing")

	data, err := envelopes.DataAs[account](decoded)
	require.NoError(t, err)
	require.Equal(t, beyondFloat, data.Balance)
}

func TestDataAs(t *testing.T) {
	t.Parallel()
	type price struct {
		Items []struct {
			Amount int `json:"amount"`
		} `json:"items"`
	}
	event := envelopes.Domain{EventData: json.RawMessage(`{"items": [{"amount": "777888.12"}]}`)}
	_, err := envelopes.DataAs[price](event)
	require.ErrorIs(t, err, envelopes.ErrInvalid)
	require.ErrorContains(t, err, "envelopes: payload.event_data.items.amount is of the JSON type string, which does not fit int")
	require.NotContains(t, err.Error(), "777888")

	_, err = envelopes.DataAs[price](envelopes.Domain{EventData: json.RawMessage(`{"items": [{"amount": 777888.12}]}`)})
	require.ErrorContains(t, err, "is of the JSON type number, which does not fit int")
	require.NotContains(t, err.Error(), "777888")

	same, err := envelopes.DataAs[created](sampleDomain())
	require.NoError(t, err)
	require.Equal(t, "customer", same.Role, "a value of the type is returned as it is")

	asMap, err := envelopes.DataAs[map[string]string](sampleDomain())
	require.NoError(t, err)
	require.Equal(t, "customer", asMap["role"], "another value goes through JSON")

	empty, err := envelopes.DataAs[*price](envelopes.Domain{})
	require.NoError(t, err)
	require.Nil(t, empty)
}

func TestPayloadAs(t *testing.T) {
	t.Parallel()
	type sync struct {
		System string
		IDs    []int
	}
	envelope, err := envelopes.Decode(readSample(t, "custom"))
	require.NoError(t, err)
	got, err := envelopes.PayloadAs[sync](envelope)
	require.NoError(t, err)
	require.Equal(t, sync{"crm", []int{1, 2, 3}}, got)

	_, err = envelopes.PayloadAs[[]int](envelope)
	require.ErrorIs(t, err, envelopes.ErrInvalid)
	require.ErrorContains(t, err, "envelopes: payload is of the JSON type object, which does not fit []int")
}

func TestAnEnvelopeIsJSONItself(t *testing.T) {
	t.Parallel()
	var envelope envelopes.Envelope
	require.NoError(t, json.Unmarshal(readSample(t, "notification"), &envelope))
	encoded, err := json.Marshal(envelope)
	require.NoError(t, err)
	require.Equal(t, tokens(t, readSample(t, "notification")), tokens(t, encoded))
	require.ErrorIs(t, json.Unmarshal([]byte(`{}`), &envelope), envelopes.ErrInvalid)
}
