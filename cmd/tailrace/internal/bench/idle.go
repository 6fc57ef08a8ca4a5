package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// processMeasures are of `tailrace forward` in a process of its own.
var processMeasures = []measure{
	{
		name: "idle", question: "a forwarder's process that has nothing to do", score: "CPU of its process",
		unit: ofACore, target: atMost(1), limits: []limit{{statements, statementsPerSec, atMost(25)}}, takes: 45 * time.Second, procfs: true,
		stage: idleStage,
	},
	{
		name: "memory", question: "a forwarder's process with a backlog 25 times as large", score: "most memory in RAM",
		unit: mebibytes, target: atMost(100), takes: 30 * time.Second, procfs: true, once: true, round: memoryOfProcess,
	},
}

const statements = "statements"

// What an idle forwarder is watched for.
const (
	idleFor      = 10 * time.Second
	idleForQuick = 300 * time.Millisecond
	// idleRows were forwarded before, so that its regular looks at the table find something to look at.
	idleRows = 50_000
)

func idleStage(ctx context.Context, b *bench) (_ *stage, err error) {
	r, err := b.room(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if err := r.fill(ctx, b.scaled(idleRows, 100)); err != nil {
		return nil, err
	}
	period := idleFor
	if b.Quick {
		period = idleForQuick
	}
	counter, err := r.countTransactions(ctx)
	if err != nil {
		return nil, err
	}
	others := 0.0
	if b.DatabaseURL != "" { // it may have other users
		if others, _, err = counter.rate(ctx, period, func() error { return nil }); err != nil {
			return nil, errors.Join(err, counter.close())
		}
	}
	p, err := b.process(ctx, r)
	if err != nil {
		return nil, errors.Join(err, counter.close())
	}
	if err := errors.Join(p.until(ctx, p.done), wait(ctx, period/2)); err != nil {
		return nil, errors.Join(err, p.close(), counter.close())
	}
	return &stage{
		round: func(ctx context.Context) (outcome, error) { return p.idle(ctx, counter, period, others) },
		close: func() error { return errors.Join(counter.close(), p.close(), r.whole(ctx, r.written), r.close()) },
	}, nil
}

// done reports whether the backlog is settled.
func (p *process) done(ctx context.Context) (bool, error) {
	pending, err := p.pending(ctx)
	return pending == 0, err
}

// idle is a round: what the process uses of the processors, and how many statements it has the database make.
func (p *process) idle(ctx context.Context, counter *transactionCounter, period time.Duration, others float64) (outcome, error) {
	var before usage
	rate, took, err := counter.rate(ctx, period, func() (err error) {
		before, err = p.usage()
		return err
	})
	if err != nil {
		return outcome{}, err
	}
	after, err := p.usage()
	if err != nil {
		return outcome{}, err
	}
	share := (after.cpu - before.cpu).Seconds() / took.Seconds() * 100
	return outcome{score: share, figures: []figure{
		{statements, statementsPerSec, max(0, rate-others)},
		{"memory in RAM", mebibytes, float64(after.resident) / (1 << 20)},
	}}, nil
}

// transactionCounter counts the transactions of the room's database. A statement by itself is one.
type transactionCounter struct{ tx *sql.Tx }

// countTransactions asks in a transaction of its own, so that asking is not counted.
func (r *room) countTransactions(ctx context.Context) (*transactionCounter, error) {
	tx, err := r.servers.admin.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("%w", err)
	}
	return &transactionCounter{tx}, nil
}

func (c *transactionCounter) close() error { return c.tx.Rollback() }

func (c *transactionCounter) now(ctx context.Context) (n int64, err error) {
	if _, err = c.tx.ExecContext(ctx, `SELECT pg_stat_clear_snapshot()`); err != nil {
		return 0, fmt.Errorf("%w", err)
	}
	err = c.tx.QueryRowContext(ctx, `SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()`).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("%w", err)
	}
	return n, nil
}

// rate counts for a period and returns how many there were a second, and how long it took in the end. Begin is
// called when it begins.
func (c *transactionCounter) rate(ctx context.Context, period time.Duration, begin func() error) (float64, time.Duration, error) {
	before, start, err := c.told(ctx)
	if err != nil {
		return 0, 0, err
	}
	if err := errors.Join(begin(), wait(ctx, period)); err != nil {
		return 0, 0, err
	}
	after, end, err := c.told(ctx)
	if err != nil {
		return 0, 0, err
	}
	took := end.Sub(start)
	return float64(after-before) / took.Seconds(), took, nil
}

// told waits until a session has just told of its transactions, of which it does not more than once a second:
// between two such moments none is missing and none too many.
func (c *transactionCounter) told(ctx context.Context) (int64, time.Time, error) {
	const most, several = 1500 * time.Millisecond, 5
	before, err := c.now(ctx)
	for start := time.Now(); err == nil; {
		var n int64
		n, err = c.now(ctx)
		if now := time.Now(); n-before >= several || now.Sub(start) > most {
			return n, now, err
		}
		err = errors.Join(err, wait(ctx, 10*time.Millisecond))
	}
	return 0, time.Time{}, err
}

// wait is a pause that ends with ctx.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
