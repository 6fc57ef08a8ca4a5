// docs/transactions.md shows what a Bus asks of a transaction, which is what it really asks.
package doc

var _ Tx = bus.Tx(nil)

var _ bus.Tx = Tx(nil)
