// Package gate stands between Kafka clients and a broker and makes the broker misbehave: it refuses,
// loses and delays produce requests, denies topics, and goes away.
package gate

// Gate holds the faults of one cluster. It is safe for concurrent use.
type Gate struct{}

// New returns a gate that lets everything pass.
func New() *Gate { return &Gate{} }
