package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/tailrace-go/tailrace/internal/pglease"
)

// ErrOwned is returned by [Store.Claim] while another session owns the outbox.
var ErrOwned = errors.New("outbox: another forwarder owns this outbox; this one stands by")

// Claim is the ownership of an outbox: a session advisory lock and the connection that holds it. All
// reading is done on that connection, so that a lost lock is a failed read. It is for one goroutine,
// except for [Claim.Valid].
//
// The server frees the lock when the connection ends, and ends the connection itself when it hears
// nothing for the lease (idle_session_timeout), so that a frozen owner is replaced. The owner in turn
// must not act once its last heartbeat is older than the lease, which is what Valid tells.
type Claim struct {
	store *Store
	lease *pglease.Lease
	conn  *sql.Conn

	read, readAfter, fetch, pending, holders, running, rolledBack *sql.Stmt
	mark                                                          string
	opening                                                       *opening // nil before the first call of Open
}

// Claim tries once to own the outbox and never waits for the lock: a waiting session would hold back
// vacuum and deadlock with CREATE INDEX CONCURRENTLY. It returns [ErrOwned] when another session has it.
// Owner names this process in the state table. Lease is how long the owner trusts a heartbeat.
func (s *Store) Claim(ctx context.Context, owner string, lease time.Duration) (*Claim, error) {
	return s.claim(ctx, owner, lease, func(*sql.Conn) error { return nil })
}

// claim is Claim with something to do on the connection before the lock is tried.
func (s *Store) claim(ctx context.Context, owner string, lease time.Duration, before func(*sql.Conn) error) (_ *Claim, err error) {
	held, err := pglease.Open(ctx, s.db, lease)
	if err != nil {
		return nil, wrap("connect to claim the outbox", err)
	}
	c := &Claim{store: s, lease: held, conn: held.Conn()}
	defer func() {
		if err != nil {
			held.Abandon()
		}
	}()
	t, exists, err := resolve(ctx, c.conn, s.table)
	if err != nil {
		return nil, wrap("find the table", err)
	}
	if !exists {
		return nil, fmt.Errorf("%w: %s: create it with `tailrace migrate`", ErrNoTable, s.table.quoted())
	}
	if err := before(held.Conn()); err != nil {
		return nil, err
	}
	owned, err := held.Lock(ctx, t.lockKey())
	if err != nil {
		return nil, wrap("claim the outbox", err)
	}
	if !owned {
		return nil, ErrOwned
	}
	if err := c.prepare(ctx); err != nil {
		return nil, err
	}
	state := s.table.stateTable()
	if _, err := c.conn.ExecContext(ctx, `INSERT INTO `+state+` (id, owner, owned_since, beat_at) VALUES (1, $1, now(), now())
		ON CONFLICT (id) DO UPDATE SET owner = $1, owned_since = now(), beat_at = now()`, owner); err != nil {
		return nil, wrap("name the owner", err)
	}
	return c, nil
}

func (c *Claim) prepare(ctx context.Context) error {
	name := c.store.table.quoted()
	const pending = `processed_at IS NULL AND retry_count < max_retries`
	const wait = `CASE WHEN next_attempt_at > now() THEN extract(epoch FROM next_attempt_at - now())::float8 END AS wait`
	forward := `SELECT id, (` + pending + `) AS pending, event_id, topic, CASE WHEN ` + pending + ` THEN payload END AS payload,
		key, headers, retry_count, max_retries, ` + wait + `, CASE WHEN ` + pending + ` THEN ` + ageMicroseconds + ` END AS age FROM ` + name
	// One statement is one snapshot: a late commit with a lower id and the rows behind it are seen
	// together, or the order within a key would break.
	both := `SELECT * FROM ((SELECT late.* FROM unnest($1::bigint[], $2::bigint[]) AS gap(low, high),
			LATERAL (` + forward + ` WHERE id BETWEEN gap.low AND gap.high AND ` + pending + ` ORDER BY id LIMIT $4) late)
		UNION ALL (` + forward + ` WHERE id > $3 ORDER BY id LIMIT $4)) found ORDER BY id LIMIT $4`
	for _, p := range []struct {
		into **sql.Stmt
		text string
	}{
		{&c.read, both},
		{&c.readAfter, forward + ` WHERE id > $1 ORDER BY id LIMIT $2`},
		{&c.fetch, forward + ` WHERE id = ANY($1) AND ` + pending + ` ORDER BY id`},
		{&c.holders, holdersQuery(c.store.table)},
		{&c.running, `SELECT pg_current_snapshot()::text`},
		{&c.rolledBack, rolledBackQuery},
		{&c.pending, unsettledQuery(name, pending)},
	} {
		stmt, err := c.conn.PrepareContext(ctx, p.text) //nolint:sqlclosecheck // It ends with the connection.
		if err != nil {
			return wrap("prepare the reader", err)
		}
		*p.into = stmt
	}
	c.mark = `UPDATE ` + c.store.table.stateTable() + ` SET low_water = $1, beat_at = now() WHERE id = 1`
	return nil
}

// Valid reports whether the owner may still act: the last heartbeat is younger than the lease and the
// connection has not failed. It is safe for concurrent use and does not ask the server.
func (c *Claim) Valid() bool { return c.lease.Valid() }

// PID is the server process that holds the lock.
func (c *Claim) PID() int { return c.lease.PID() }

// Beat tells the server that the owner lives. Every other call does, too.
func (c *Claim) Beat(ctx context.Context) error { return wrap("beat", c.lease.Beat(ctx)) }

// do runs one statement; an error of it loses the claim.
func (c *Claim) do(what string, statement func() error) error {
	return wrap(what, c.lease.Do(statement))
}

// Start returns the low-water mark: every row at or below it was settled, or is for [Claim.Unsettled]
// to find. When the sequence stands below the stored mark (ids went backwards: a restore, a failover,
// a crash under asynchronous commit), the sequence counts.
func (c *Claim) Start(ctx context.Context) (lowWater int64, err error) {
	err = c.do("read the low-water mark", func() error {
		return c.conn.QueryRowContext(ctx, `SELECT low_water FROM `+c.store.table.stateTable()+` WHERE id = 1`).Scan(&lowWater)
	})
	if err != nil {
		return 0, err
	}
	issued, err := c.Issued(ctx)
	return min(lowWater, issued), err
}

// Issued returns the highest id the table's sequence has given out, 0 for none.
func (c *Claim) Issued(ctx context.Context) (id int64, err error) {
	return c.issued(ctx, c.store.table)
}

func (c *Claim) issued(ctx context.Context, t table) (id int64, err error) {
	err = c.do("read the sequence", func() error {
		id, err = t.issued(ctx, c.conn)
		return err
	})
	return id, err
}

// Mark stores the low-water mark for the next owner.
func (c *Claim) Mark(ctx context.Context, lowWater int64) error {
	return c.do("store the low-water mark", func() error {
		_, err := c.conn.ExecContext(ctx, c.mark, lowWater)
		return err
	})
}

// Release gives the lock back and returns the connection's resources. It is safe after a loss.
func (c *Claim) Release(ctx context.Context) error {
	defer c.lease.Abandon()
	if c.lease.Lost() {
		return nil
	}
	return c.do("release the outbox", func() error {
		_, err := c.conn.ExecContext(ctx, `UPDATE `+c.store.table.stateTable()+` SET owner = NULL, owned_since = NULL WHERE id = 1`)
		return err
	})
}
