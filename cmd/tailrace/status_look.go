package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tailrace-go/tailrace/bus/connect"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder"
	"github.com/tailrace-go/tailrace/internal/pgtable"
)

// view is how an outbox stands, as far as its database told.
type view struct {
	address

	group  string
	census outbox.Census
	tables []standing // one, or a shard each
	err    error      // what was left to see could not be seen
}

// standing is how one table of an outbox stands.
type standing struct {
	outbox.TableStatus

	name  string // as a forwarder calls it
	shard outbox.Shard
}

type views []view

// look asks the databases, all at once. What has not been answered within the timeout is an error in its view.
func (a addresses) look(ctx context.Context, databases pools, group string, timeout time.Duration) views {
	all := make(views, len(a))
	var asking sync.WaitGroup
	for i, one := range a {
		asking.Go(func() {
			seen, err := within(ctx, timeout, func(ctx context.Context) (view, error) {
				v := view{address: one, group: group}
				err := v.look(ctx, databases[one.database])
				return v, err
			})
			if err != nil && away(err) && !errors.Is(err, errSilent) {
				err = fmt.Errorf("the database is away: %w", err)
			}
			seen.address, seen.group, seen.err = one, group, err
			all[i] = seen
		})
	}
	asking.Wait()
	return all
}

func (v *view) look(ctx context.Context, db *sql.DB) error {
	shards, err := outbox.Shards(ctx, db, v.table)
	if err != nil {
		return err
	}
	names := make([]string, len(shards))
	for i, shard := range shards {
		s := standing{name: v.name, shard: shard}
		if names[i] = shard.Table; i > 0 {
			s.name = v.shardName(shard.Table)
		}
		if s.TableStatus, err = outbox.Status(ctx, db, shard.Table); err != nil {
			return err
		}
		v.tables = append(v.tables, s)
	}
	v.census, err = outbox.LookAtGroup(ctx, db, v.group, names)
	return err
}

// shardName is what a forwarder calls a shard: its metrics' label outbox.
func (a address) shardName(table string) string {
	if a.name == a.table {
		return table
	}
	return a.name + "/" + table
}

var errSilent = errors.New("the database has not answered")

// within has a database asked. lib/pq waits on a connection without traffic whatever its context says, so what
// has not returned by the timeout is left behind.
func within[T any](ctx context.Context, timeout time.Duration, ask func(context.Context) (T, error)) (T, error) {
	silence := fmt.Errorf("%w within %s: give it more with --timeout if that is its pace", errSilent, timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, silence)
	defer cancel()
	type answer struct {
		what T
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		what, err := ask(ctx)
		answers <- answer{what, err}
	}()
	var got answer
	select {
	case got = <-answers:
	case <-ctx.Done():
		got.err = ctx.Err()
	}
	if got.err != nil && ctx.Err() != nil {
		got.err = context.Cause(ctx) // clearer than how it met the deadline
	}
	return got.what, got.err
}

// members is how many processes of the group there are in the outbox's database.
func (v view) members() int { return len(v.census.Members) }

// inGroup reports whether the owner of a table is one of them.
func (v view) inGroup(s standing) bool {
	return s.Owner != "" && slices.Contains(v.census.Members, v.census.Owners[s.shard.Table])
}

// away reports whether an error is the database's silence, rather than its answer.
func away(err error) bool {
	return pgtable.SQLState(err) == "" && !errors.Is(err, outbox.ErrNoTable) && !errors.Is(err, outbox.ErrShape)
}

// failed is the error of all that could not be seen, nil when everything was. Plain is the database of outboxes
// that have no name of their own.
func (all views) failed(plain connect.DSN) error {
	var faults []error
	silent := map[connect.DSN][]string{}
	reasons := map[connect.DSN]error{}
	for _, v := range all {
		switch {
		case v.err == nil:
		case len(all) > 1 && away(v.err):
			silent[v.database] = append(silent[v.database], v.name)
			reasons[v.database] = v.err
		case v.database == plain && v.name == v.table:
			faults = append(faults, explain(v.err, v.table))
		default:
			faults = append(faults, explain(&forwarder.OutboxError{Name: v.name, Table: v.table, Err: v.err}, v.table))
		}
	}
	for _, v := range all {
		if names := silent[v.database]; names != nil {
			faults = append(faults, fmt.Errorf("outbox %s: %w", strings.Join(names, ", "), reasons[v.database]))
			delete(silent, v.database)
		}
	}
	return errors.Join(faults...)
}
