// Package orders is the order service.
package orders

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/decorators"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/examples/order/events"
)

// Schema is the service's tables.
const Schema = `
CREATE TABLE stock  (sku text PRIMARY KEY, quantity int NOT NULL, cents bigint NOT NULL);
CREATE TABLE orders (id text PRIMARY KEY, customer text NOT NULL, status text NOT NULL, cents bigint NOT NULL);`

// NewOrder is what a customer asks for.
type NewOrder struct {
	ID         string `json:"id"`
	Customer   string `json:"customer"`
	Country    string `json:"country"`
	SKU        string `json:"sku"`
	Quantity   int    `json:"quantity"`
	CardNumber string `json:"card_number"` // its name says secret: no event has it
}

// Order is an order as it stands.
type Order struct {
	ID     string `json:"id"`
	Status string `json:"status"` // placed, confirmed
	Cents  int64  `json:"cents"`
}

var (
	// ErrInvalid refuses what is no order.
	ErrInvalid = errors.New("an order needs a customer, a country, and a quantity of at least 1")
	// ErrOutOfStock refuses an order that cannot be delivered.
	ErrOutOfStock = errors.New("out of stock")
	// ErrExists refuses a second order with an id.
	ErrExists = errors.New("there is an order with this id")
	// ErrUnknown says that there is no such order.
	ErrUnknown = errors.New("no such order")
)

// Service places orders and follows them until they are confirmed.
type Service struct {
	db    *sql.DB
	bus   *bus.Bus
	place func(context.Context, NewOrder) (Order, error)
}

// New returns the service over its database and its Bus.
func New(db *sql.DB, b *bus.Bus) (*Service, error) {
	s := &Service{db: db, bus: b}
	decorator, err := decorators.New(decorators.Config{Bus: b})
	if err != nil {
		return nil, err
	}
	audit := decorators.AuditSpec{EventType: envelopes.DataCreated, Action: "place_order", ResourceType: "order", IncludeArgs: true}
	s.place, err = decorators.Audit(decorator, audit, func(in NewOrder, _ Order) string { return in.ID }, s.insert)
	return s, err
}

// Place places an order: the rows, the event for billing and the audit event are one transaction. When
// the order is refused, nothing of it remains but an audit event that says so.
func (s *Service) Place(ctx context.Context, in NewOrder) (order Order, err error) {
	if in.Customer == "" || in.Country == "" || in.Quantity < 1 {
		return Order{}, ErrInvalid
	}
	err = s.bus.Transact(ctx, func(ctx context.Context, _ *sql.Tx) error {
		order, err = s.place(ctx, in)
		return err
	})
	return order, err
}

// insert is called in a transaction.
func (s *Service) insert(ctx context.Context, in NewOrder) (Order, error) {
	tx, _ := s.bus.SQLTxFrom(ctx)
	var left int
	var price int64
	err := tx.QueryRowContext(ctx, `UPDATE stock SET quantity = quantity - $2 WHERE sku = $1 RETURNING quantity, cents`,
		in.SKU, in.Quantity).Scan(&left, &price)
	if errors.Is(err, sql.ErrNoRows) || left < 0 {
		return Order{}, fmt.Errorf("%d of %s: %w", in.Quantity, in.SKU, ErrOutOfStock)
	}
	if err != nil {
		return Order{}, fmt.Errorf("take from the stock: %w", err)
	}
	order := Order{ID: in.ID, Status: "placed", Cents: price * int64(in.Quantity)}
	inserted, err := tx.ExecContext(ctx, `INSERT INTO orders VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
		order.ID, in.Customer, order.Status, order.Cents)
	if err != nil {
		return Order{}, fmt.Errorf("insert the order: %w", err)
	}
	if n, err := inserted.RowsAffected(); err != nil || n == 0 {
		return Order{}, cmp.Or(err, ErrExists)
	}
	_, err = events.OrderPlaced.Publish(ctx, s.bus, order.ID, events.Placed{Customer: in.Customer, Country: in.Country, Cents: order.Cents})
	return order, err
}

// Find returns an order.
func (s *Service) Find(ctx context.Context, id string) (Order, error) {
	order := Order{ID: id}
	err := s.db.QueryRowContext(ctx, `SELECT status, cents FROM orders WHERE id = $1`, id).Scan(&order.Status, &order.Cents)
	if errors.Is(err, sql.ErrNoRows) {
		return Order{}, ErrUnknown
	}
	return order, err
}
