// The blocks of README.md have these around them.
package doc

import (
	"context"

	"github.com/ThreeDotsLabs/watermill/message"
)

var (
	router     *message.Router
	publisher  message.Publisher
	subscriber message.Subscriber
)

func sendWelcome(context.Context, string) error { return nil }
