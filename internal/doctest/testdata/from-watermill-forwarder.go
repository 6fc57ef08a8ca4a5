// docs/from-watermill-forwarder.md names Watermill's forwarder and watermill-sql by these.
package doc

import (
	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	wforwarder "github.com/ThreeDotsLabs/watermill/components/forwarder"
)

var (
	_ wforwarder.Config
	_ wsql.PublisherConfig
)
