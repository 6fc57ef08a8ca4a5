package ormtest_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
)

// EntService has a client that ent generated.
type EntService struct {
	client *Client
	bus    *bus.Bus
}

// Register is one transaction.
func (s EntService) Register(ctx context.Context, id, email string) error {
	tx, err := s.client.Tx(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := tx.User.Create().SetID(id).SetEmail(email).Exec(ctx); err != nil {
		return err
	}
	if _, err := UserCreated.Publish(ctx, s.bus.InTx(tx), id, User{Email: email}); err != nil {
		return err
	}
	if err := check(email); err != nil {
		return err
	}
	return tx.Commit()
}

// joined is ent's driver over a transaction that is begun and ended elsewhere.
type joined struct{ *entsql.Driver }

func join(tx *sql.Tx) joined {
	return joined{entsql.NewDriver(dialect.Postgres, entsql.Conn{ExecQuerier: tx})}
}

// Tx is what ent calls for a write of several statements: they are in a transaction already.
func (j joined) Tx(context.Context) (dialect.Tx, error) { return dialect.NopTx(j), nil }

// JoiningService lets the Bus begin and end.
type JoiningService struct{ bus *bus.Bus }

// Register is one transaction.
func (s JoiningService) Register(ctx context.Context, id, email string) error {
	return s.bus.Transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		client := NewClient(Driver(join(tx)))
		if err := client.User.Create().SetID(id).SetEmail(email).Exec(ctx); err != nil {
			return err
		}
		if _, err := UserCreated.Publish(ctx, s.bus, id, User{Email: email}); err != nil {
			return err
		}
		return check(email)
	})
}

func TestEnt(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	registers(t, db, EntService{NewClient(Driver(entsql.OpenDB(dialect.Postgres, db))), newBus(t, db)})
}

func TestEntJoinsTransact(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	registers(t, db, JoiningService{newBus(t, db)})
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	inner, err := NewClient(Driver(join(tx))).Tx(t.Context())
	require.NoError(t, err)
	require.NoError(t, inner.User.Create().SetID("user-9").SetEmail("nine@example.com").Exec(t.Context()))
	require.NoError(t, inner.Commit(), "which is not the transaction's")
	require.NoError(t, tx.Rollback())
	users(t, db, "user-1")
}

// What follows stands for the package that ent generates, with --feature sql/execquery, from a schema
// with one type: the same names and signatures over the same driver, without what the test has no use for.

// Client is ent's.
type Client struct {
	driver dialect.Driver
	User   *UserClient
}

// Driver is ent's option.
func Driver(driver dialect.Driver) func(*Client) { return func(c *Client) { c.driver = driver } }

// NewClient is ent's.
func NewClient(options ...func(*Client)) *Client {
	c := &Client{}
	for _, option := range options {
		option(c)
	}
	c.User = &UserClient{c.driver}
	return c
}

// Tx is ent's.
func (c *Client) Tx(ctx context.Context) (*Tx, error) {
	tx, err := c.driver.Tx(ctx)
	if err != nil {
		return nil, err
	}
	return &Tx{driver: tx, User: &UserClient{tx}}, nil
}

// Tx is ent's.
type Tx struct {
	driver dialect.Tx
	User   *UserClient
}

// Commit is ent's.
func (tx *Tx) Commit() error { return tx.driver.Commit() }

// Rollback is ent's.
func (tx *Tx) Rollback() error { return tx.driver.Rollback() }

// ExecContext is there with --feature sql/execquery.
func (tx *Tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	executor, ok := tx.driver.(interface {
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	})
	if !ok {
		return nil, errors.New("Tx.ExecContext is not supported")
	}
	return executor.ExecContext(ctx, query, args...)
}

// UserClient is ent's.
type UserClient struct{ driver dialect.ExecQuerier }

// Create is ent's.
func (c *UserClient) Create() *UserCreate { return &UserCreate{driver: c.driver} }

// UserCreate is ent's.
type UserCreate struct {
	driver    dialect.ExecQuerier
	id, email string
}

// SetID is ent's.
func (u *UserCreate) SetID(id string) *UserCreate {
	u.id = id
	return u
}

// SetEmail is ent's.
func (u *UserCreate) SetEmail(email string) *UserCreate {
	u.email = email
	return u
}

// Exec is ent's.
func (u *UserCreate) Exec(ctx context.Context) error {
	query, args := entsql.Dialect(dialect.Postgres).Insert("users").Columns("id", "email").Values(u.id, u.email).Query()
	return u.driver.Exec(ctx, query, args, nil)
}
