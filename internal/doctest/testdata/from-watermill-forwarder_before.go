// What docs/from-watermill-forwarder.md shows as it was before has these around it.
package before

import (
	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	wforwarder "github.com/ThreeDotsLabs/watermill/components/forwarder"
)

var (
	_ wforwarder.Config
	_ wsql.PublisherConfig
)
