// The blocks of docs/guide.md have these around them.
package doc

import (
	"context"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/decorators"
)

var (
	ctx           = context.Background()
	correlationID string
	b             *bus.Bus
	d             *decorators.Decorator
	users         Users
)

type Service struct{ bus *bus.Bus }
