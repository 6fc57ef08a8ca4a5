package main

import (
	"context"
	"database/sql"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

// migrate brings the table up to date with its rows, while the application goes on writing. In production:
// tailrace migrate.
func (a *app) migrate(ctx context.Context, out io.Writer) error {
	if _, err := a.db.ExecContext(ctx, guideTable); err != nil {
		return err
	}
	if err := a.createUsers(ctx, 60); err != nil {
		return err
	}
	if err := a.relay(ctx, 20); err != nil { // and stops: the relay and tailrace forward must not run together
		return err
	}
	if err := a.count(ctx, out, "a  hand-written outbox, relay stopped", a.names.created, &a.created, found{unsent: 40}); err != nil {
		return err
	}
	var both errgroup.Group
	both.Go(func() error { return a.createUsers(ctx, 40) })
	both.Go(func() error {
		_, err := outbox.Migrate(ctx, a.db, outbox.MigrateConfig{})
		return err
	})
	return both.Wait()
}

func (a *app) createUsers(ctx context.Context, n int) error {
	for i := range n {
		err := a.transact(ctx, false, func(tx *sql.Tx) error {
			id, err := insertByHand(ctx, tx, a.names.created, "user_created", userID(i))
			a.created.add(userID(i), id)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// forwarded: what was pending, and what came meanwhile, is sent; what the relay had sent is not.
func (a *app) forwarded(ctx context.Context, out io.Writer) error {
	if err := a.settled(ctx); err != nil {
		return err
	}
	return a.count(ctx, out, "a  table migrated, tailrace forward", a.names.created, &a.created, found{})
}
