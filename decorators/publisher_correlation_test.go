package decorators_test

import (
	"context"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/decorators"
)

func TestPublisherCorrelation(t *testing.T) {
	t.Parallel()
	request := bus.WithMetadata(context.Background(), bus.Metadata{CorrelationID: "req\n7"})
	for what, c := range map[string]struct {
		ctx  context.Context
		uuid string
		has  string
		want string
	}{
		"its own stays":                  {request, "m-1", "req-1", "req-1"},
		"the context's, fit for headers": {request, "m-1", "", "req%0A7"},
		"the first of its chain":         {context.Background(), "m-1", "", "m-1"},
		"made when there is nothing":     {context.Background(), "", "", ""},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			k := &keeper{}
			msg := message.NewMessageWithContext(c.ctx, c.uuid, nil)
			if c.has != "" {
				msg.Metadata.Set("correlation_id", c.has)
			}
			require.NoError(t, decorated(t, k, decorators.PublisherCorrelation()).Publish("orders", msg))
			got := k.calls[0][0].Metadata["correlation_id"]
			if c.want == "" {
				require.Len(t, got, 36)
				return
			}
			require.Equal(t, c.want, got)
			require.Equal(t, c.ctx, k.calls[0][0].Context())
		})
	}
}
