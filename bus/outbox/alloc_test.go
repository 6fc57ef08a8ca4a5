package outbox_test

import (
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

// TestInsertQueryAllocatesLittle bounds what an event costs before it is on the wire.
func TestInsertQueryAllocatesLittle(t *testing.T) {
	var adapter outbox.SchemaAdapter
	one := message.Messages{event()}
	per := testing.AllocsPerRun(100, func() {
		if _, err := adapter.InsertQuery("t", one); err != nil {
			t.Fatal(err)
		}
	})
	require.LessOrEqual(t, per, 14.0, "one message")
	hundred := make(message.Messages, 100)
	for i := range hundred {
		hundred[i] = event()
	}
	per = testing.AllocsPerRun(100, func() {
		if _, err := adapter.InsertQuery("t", hundred); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%.2f allocations an event in a batch of 100", per/100)
	require.LessOrEqual(t, per/100, 2.5)
}
