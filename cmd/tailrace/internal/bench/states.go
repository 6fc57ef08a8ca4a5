package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// The sizes of the states with the standard backlog.
const (
	vastBacklog = 1_000_000
	deadRows    = 500_000
)

// stateMeasures compare ours with itself, in a state of the outbox that may slow it.
var stateMeasures = []measure{
	{
		name: "backlog-million", question: "forward a backlog 25 times as large", baseline: "the usual backlog",
		unit: ratio, target: atLeast(0.9), takes: 75 * time.Second, round: vast,
	},
	{
		name: "old-snapshot", question: "forward beside a transaction whose old snapshot keeps settled rows from vacuum", baseline: "no old snapshot",
		unit: ratio, target: atLeast(0.7), takes: time.Minute, round: besideOldSnapshot,
	},
}

// count writes a number of things.
func count(n int, things string) string { return number(float64(n)) + " " + things }

// vast compares a vast backlog with the usual one, which is so much shorter that it has several goes.
func vast(ctx context.Context, b *bench) (outcome, error) {
	usual, much := b.scaled(standardEvents, 100), b.scaled(vastBacklog, 2500)
	all := []contender{
		{name: tailraceName + ", " + count(much, "pending"), n: much, do: b.forwardPending(ctx, much)},
		{name: tailraceName + ", " + count(usual, "pending"), n: usual, do: b.forwardPending(ctx, usual)},
	}
	for _, next := range []int{1, 1, 0, 1, 1} {
		if err := all[next].take(ctx, b, 0); err != nil {
			return outcome{}, err
		}
	}
	return rates(eventsPerSec, all...), nil
}

// forwardPending has ours start on a backlog of n, and go on until all of it is settled.
func (b *bench) forwardPending(ctx context.Context, n int) func(*room) (cost, error) {
	return func(r *room) (cost, error) {
		if err := r.fill(ctx, n); err != nil {
			return cost{}, err
		}
		var w *running
		used, err := b.ours(func() (err error) {
			if w, err = b.start(ctx, r); err != nil {
				return err
			}
			return w.settle(ctx)
		})
		if w != nil {
			err = errors.Join(err, w.close(ctx))
		}
		return used, err
	}
}

// bursts has ours run in the room, and forward n rows that are committed at once, twice. Before, it
// forwards as many that are there already, so that no contender has a table that is new to all.
func (b *bench) bursts(ctx context.Context, n int) func(*room) (cost, error) {
	return func(r *room) (used cost, err error) {
		if err := r.fill(ctx, n); err != nil {
			return cost{}, err
		}
		w, err := b.start(ctx, r)
		if err != nil {
			return cost{}, err
		}
		defer func() { err = errors.Join(err, w.close(ctx)) }()
		if err := w.settle(ctx); err != nil {
			return cost{}, err
		}
		for range 2 {
			one, err := w.burst(ctx, n, nil)
			if err != nil {
				return cost{}, err
			}
			used.add(one)
		}
		return used, nil
	}
}

// besideOldSnapshot compares bursts beside an open snapshot, behind which very many rows were settled, with
// bursts before and after: a snapshot keeps the dead rows of the whole database from vacuum.
func besideOldSnapshot(ctx context.Context, b *bench) (outcome, error) {
	n, dead := b.scaled(standardEvents, 100), 0
	all := []contender{
		{name: tailraceName + ", old snapshot", n: 2 * n, do: func(r *room) (_ cost, err error) {
			if err := r.add(ctx, r.db, b.scaled(deadRows, 1000)); err != nil {
				return cost{}, err
			}
			snapshot, err := r.snapshot(ctx)
			if err != nil {
				return cost{}, err
			}
			defer func() { err = errors.Join(err, snapshot.Rollback()) }()
			if dead, err = r.settleUnder(ctx); err != nil {
				return cost{}, err
			}
			return b.bursts(ctx, n)(r)
		}},
		{name: tailraceName + ", no old snapshot", n: 2 * n, do: b.bursts(ctx, n)},
	}
	for _, next := range []int{1, 0, 1} {
		if err := all[next].take(ctx, b, 0); err != nil {
			return outcome{}, err
		}
	}
	o := rates(eventsPerSec, all...)
	o.figures = append(o.figures, figure{"rows dead behind it", "rows", float64(dead)})
	return o, nil
}

// snapshot opens a transaction that sees the room as it is now until it ends.
func (r *room) snapshot(ctx context.Context) (*sql.Tx, error) {
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("%w", err)
	}
	var n int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM event_outbox_forwarder`).Scan(&n); err != nil {
		return nil, errors.Join(fmt.Errorf("%w", err), tx.Rollback())
	}
	return tx, nil
}

// settleUnder settles all rows without Kafka, as ours would, under an open snapshot. It makes sure that
// their pending versions stay, dead, and returns how many.
func (r *room) settleUnder(ctx context.Context) (dead int, err error) {
	if _, err := r.db.ExecContext(ctx, `UPDATE event_outbox SET processed_at = now()`); err != nil {
		return 0, fmt.Errorf("%w", err)
	}
	want := r.written
	if err := r.passed(ctx); err != nil {
		return 0, err
	}
	// It counts what it has to leave.
	if _, err := r.db.ExecContext(ctx, `VACUUM event_outbox`); err != nil {
		return 0, fmt.Errorf("%w", err)
	}
	if err := r.db.QueryRowContext(ctx, `SELECT n_dead_tup FROM pg_stat_user_tables WHERE relid = 'event_outbox'::regclass`).Scan(&dead); err != nil {
		return 0, fmt.Errorf("%w", err)
	}
	if dead < want {
		return dead, fmt.Errorf("of %d settled rows only %d are dead behind the snapshot: this is no measurement", want, dead)
	}
	return dead, nil
}

// passed tells a forwarder that comes that all rows there are were settled by one before it.
func (r *room) passed(ctx context.Context) error {
	r.written, r.settled = 0, 0
	if _, err := r.db.ExecContext(ctx, `UPDATE event_outbox_forwarder SET low_water = (SELECT max(id) FROM event_outbox)`); err != nil {
		return fmt.Errorf("%w", err)
	}
	return nil
}
