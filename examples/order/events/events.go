// Package events is what the services tell each other. It is all that they share.
package events

import "github.com/tailrace-go/tailrace/bus"

// The services, whose names are in the topics of their events.
const (
	Orders  = "orders"
	Billing = "billing"
)

// Placed is what somebody ordered.
type Placed struct {
	Customer string `json:"customer"`
	Country  string `json:"country"`
	Cents    int64  `json:"cents"`
}

// Billed is what the customer is to pay.
type Billed struct {
	Cents int64 `json:"cents"` // with the VAT
}

// Confirmed says that the order will be sent.
type Confirmed struct {
	Customer string `json:"customer"`
}

// The way of an order: orders places it, billing bills it, orders confirms it.
var (
	OrderPlaced    = bus.Define[Placed]("order", "order_placed")
	OrderBilled    = bus.Define[Billed]("order", "order_billed")
	OrderConfirmed = bus.Define[Confirmed]("order", "order_confirmed")
)
