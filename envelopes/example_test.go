package envelopes_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/tailrace-go/tailrace/envelopes"
)

func ExampleEncode() {
	encoded, err := envelopes.Encode(envelopes.Domain{
		Metadata: envelopes.Metadata{
			EventID:     "0190b5c2-7d3e-7a41-9c55-2f6d0e8b1a03",
			Timestamp:   time.Date(2024, 7, 15, 9, 30, 0, 123456000, time.UTC),
			ServiceName: "user-service",
		},
		AggregateType: "user",
		AggregateID:   "user-123",
		EventType:     "user_created",
		EventData:     map[string]string{"email": "user@example.com"},
	})
	if err != nil {
		fmt.Println(err)
	}
	fmt.Println(string(encoded[:120]) + "…")
	// Output:
	// {"metadata":{"event_id":"0190b5c2-7d3e-7a41-9c55-2f6d0e8b1a03","timestamp":"2024-07-15T09:30:00.123456+00:00","service_n…
}

func ExampleDecode() {
	record := []byte(`{"metadata": {"event_id": "1", "timestamp": "2024-07-15T09:30:00Z", "service_name": "bank"},
		"event_type": "account_opened",
		"payload": {"aggregate_type": "account", "aggregate_id": "a-1", "event_data": {"balance": 9007199254740993}}}`)

	envelope, err := envelopes.Decode(record)
	if err != nil {
		fmt.Println(err)
	}
	event, err := envelope.Domain()
	if err != nil {
		fmt.Println(err)
	}
	type account struct {
		Balance int64 `json:"balance"`
	}
	data, err := envelopes.DataAs[account](event)
	fmt.Println(event.AggregateID, data.Balance, err)
	// Output: a-1 9007199254740993 <nil>
}

func ExampleDecode_invalid() {
	_, err := envelopes.Decode([]byte(`{"metadata": {"event_id": 7, "timestamp": "soon"}, "payload": {}}`))
	fmt.Println(errors.Is(err, envelopes.ErrInvalid))
	fmt.Println(err)
	// Output:
	// true
	// envelopes: event_type is missing
	// envelopes: metadata.event_id is a number, where a string belongs
	// envelopes: metadata.timestamp is not an RFC 3339 time with an offset
	// envelopes: metadata.service_name is missing
}

func ExamplePayloadAs() {
	envelope := envelopes.Envelope{EventType: "sync_requested", Payload: []byte(`{"system": "crm", "ids": [1, 2, 3]}`)}
	type syncRequest struct {
		System string
		IDs    []int
	}
	request, err := envelopes.PayloadAs[syncRequest](envelope)
	fmt.Println(request.System, len(request.IDs), err)
	// Output: crm 3 <nil>
}

func ExampleValidate() {
	err := envelopes.Validate(envelopes.Audit{
		Metadata:  envelopes.Metadata{EventID: "1", Timestamp: time.Now(), ServiceName: "user-service"},
		EventType: envelopes.DataCreated, Action: "create_user", RiskLevel: "extreme",
	})
	fmt.Println(err)
	// Output:
	// envelopes: payload.resource_type is missing
	// envelopes: payload.risk_level is not one of low, medium, high, critical
}

// An application defines its own types beside the known ones.
func ExampleAuditType() {
	const invoiceApproved envelopes.AuditType = "invoice.approved"
	event := envelopes.Audit{EventType: invoiceApproved, Action: "approve", ResourceType: "invoice", ResourceID: "i-7"}
	fmt.Println(event.EventType, event.Failed, envelopes.RecordKey(event))
	// Output: invoice.approved false i-7
}

func ExampleCloudEvents() {
	event := envelopes.Domain{
		Metadata: envelopes.Metadata{
			EventID: "1", ServiceName: "user service", Timestamp: time.Date(2024, 7, 15, 9, 30, 0, 0, time.UTC),
		},
		AggregateType: "user", AggregateID: "user-123", EventType: "user_created",
	}
	header := map[string]string{}
	envelopes.CloudEvents(header, &event.Metadata, event)
	fmt.Println(header["ce_source"], header["ce_type"], header["ce_subject"])
	// Output: /user%20service user_created user-123
}
