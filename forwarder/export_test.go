package forwarder

import "context"

// WithTables returns the outbox with a source of its tables.
func WithTables(o Outbox, tables func(context.Context) ([]string, error)) Outbox {
	o.tables = tables
	return o
}
