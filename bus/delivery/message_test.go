package delivery_test

import (
	"fmt"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

func ExampleFromMessage() {
	msg := message.NewMessage("0190b5c2-7d3e-7a41-9c55-2f6d0e8b1a03", []byte(`{}`))
	msg.Metadata.Set(delivery.KeyMetadata, "user-123")
	msg.Metadata.Set("ce_type", "user_created")
	msg.Metadata.Set("ce_id", "0190b5c2-7d3e-7a41-9c55-2f6d0e8b1a03")

	record := delivery.FromMessage("marty.users", msg)

	fmt.Printf("%s %s %s\n", record.Topic, record.Key, record.Value)
	for _, header := range record.Headers {
		fmt.Println(header.Key)
	}
	// Output:
	// marty.users user-123 {}
	// _watermill_message_uuid
	// ce_id
	// ce_type
}

func TestNoKeyIsANullKey(t *testing.T) {
	t.Parallel()
	msg := message.NewMessage("1", nil)
	require.Nil(t, delivery.FromMessage("t", msg).Key)
	msg.Metadata.Set(delivery.KeyMetadata, "")
	require.Nil(t, delivery.FromMessage("t", msg).Key, "never an empty key")
	msg.Metadata.Set(delivery.UUIDHeader, "forged")
	require.Equal(t, []delivery.Header{{Key: delivery.UUIDHeader, Value: []byte("1")}}, delivery.FromMessage("t", msg).Headers)
}

func TestFenceStaysClosed(t *testing.T) {
	t.Parallel()
	var none *delivery.Fence
	none.Close()
	require.False(t, none.Closed(), "no fence withholds nothing")
	fence := new(delivery.Fence)
	require.False(t, fence.Closed())
	fence.Close()
	fence.Close()
	require.True(t, fence.Closed())
}

func TestEveryFaultHasAName(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for fault := delivery.Delivered; fault <= delivery.Withheld; fault++ {
		names[fault.String()] = true
	}
	require.Len(t, names, 5)
	require.NotContains(t, names, "unknown")
}
