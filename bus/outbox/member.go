package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"time"

	"github.com/lib/pq"

	"github.com/tailrace-go/tailrace/internal/pglease"
	"github.com/tailrace-go/tailrace/internal/pgtable"
)

// ErrNumberTaken is returned by [Join] while another session of the group has the number: another process,
// or this one's session before, which the server has not ended yet.
var ErrNumberTaken = errors.New("outbox: the member's number is taken in this database; try again, or take another")

// Membership is a process's place in a group of processes that share out outboxes among themselves.
type Membership struct {
	// Group is the name under which the processes find one another.
	Group string
	// Number names the process in all databases of the group. It is drawn at random and is not 0.
	Number uint32
}

// memberLock and claimLock are the first keys of two advisory locks whose second key is the member's number:
// its member session holds the one exclusively, each connection that owns an outbox for it the other, shared.
func (m Membership) memberLock() int32 { return m.lock("member") }
func (m Membership) claimLock() int32  { return m.lock("claim") }

func (m Membership) lock(purpose string) int32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte("tailrace forwarders " + purpose + "\x00" + m.Group))
	return int32(h.Sum32()) //nolint:gosec // Any 32 bits are a key.
}

// Member is a membership in one database: a session with an advisory lock that says that the process lives.
// It is for one goroutine.
//
// The server ends the session when it hears nothing from it for the lease (idle_session_timeout), so that a
// frozen process is no member. There is no row that could go stale.
type Member struct {
	conn   *sql.Conn
	at     Membership
	census *sql.Stmt
	keys   map[string]int64 // of tables that exist, by the name that was asked for
}

// Census is what the server knows of a group at one moment.
type Census struct {
	// Members are the numbers of the processes with a session in this database.
	Members []uint32
	// Owners has the owner of each table that was asked for and that somebody owns. 0 is one that is no
	// member of the group.
	Owners map[string]uint32
	// Others is how many further outboxes a number owns.
	Others map[uint32]int
}

// Join makes this process a member in a database, on a connection of its own. It returns [ErrNumberTaken]
// if the number is in use.
func Join(ctx context.Context, db *sql.DB, at Membership, lease time.Duration) (_ *Member, err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, wrap("connect to join the group", err)
	}
	m := &Member{conn: conn, at: at, keys: map[string]int64{}}
	defer func() {
		if err != nil {
			m.Leave()
		}
	}()
	if _, err := conn.ExecContext(ctx, `SET idle_session_timeout = `+strconv.FormatInt(lease.Milliseconds(), 10)+`; SET jit = off`); err != nil {
		return nil, wrap("prepare the member's connection", err)
	}
	var joined bool
	if err := conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1::int, $2::int)`, at.memberLock(), int32(at.Number)).Scan(&joined); err != nil { //nolint:gosec // any 32 bits
		return nil, wrap("join the group", err)
	}
	if !joined {
		return nil, ErrNumberTaken
	}
	m.census, err = conn.PrepareContext(ctx, censusQuery)
	return m, wrap("prepare the census", err)
}

// censusQuery is one look at pg_locks: each takes all partitions of the server's lock table for a moment.
const censusQuery = `WITH held AS MATERIALIZED (
		SELECT classid::bigint AS class, objid::bigint AS object, objsubid, pid FROM pg_locks
		WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())),
	ours AS MATERIALIZED (SELECT * FROM held WHERE objsubid = 2 AND class IN ($1, $2))
	SELECT class, object, objsubid, pid FROM ours
	UNION ALL SELECT class, object, objsubid, pid FROM held
	WHERE objsubid = 1 AND ((class << 32) | object = ANY($3) OR pid IN (SELECT pid FROM ours WHERE class = $2))`

// LookAtGroup is [Member.Census] by somebody who is no member of the group, and stays none.
func LookAtGroup(ctx context.Context, db *sql.DB, group string, tables []string) (Census, error) {
	keys := make([]int64, len(tables))
	for i, name := range tables {
		key, _, err := ownerLock(ctx, db, name)
		if err != nil {
			return Census{}, err
		}
		keys[i] = key
	}
	ask := func(args ...any) (*sql.Rows, error) { return db.QueryContext(ctx, censusQuery, args...) }
	return Membership{Group: group}.census(ask, tables, keys)
}

// Census asks the server who is a member and who owns the tables, which is also the heartbeat. An error ends
// the membership: call Leave.
func (m *Member) Census(ctx context.Context, tables []string) (Census, error) {
	keys := make([]int64, len(tables))
	for i, name := range tables {
		key, err := m.key(ctx, name)
		if err != nil {
			return Census{}, err
		}
		keys[i] = key
	}
	return m.at.census(func(args ...any) (*sql.Rows, error) { return m.census.QueryContext(ctx, args...) }, tables, keys)
}

// census reads the rows of censusQuery. The keys are the tables' locks.
func (m Membership) census(ask func(args ...any) (*sql.Rows, error), tables []string, keys []int64) (Census, error) {
	memberLock, claimLock := int64(uint32(m.memberLock())), int64(uint32(m.claimLock())) //nolint:gosec // as pg_locks shows them
	rows, err := ask(memberLock, claimLock, pq.Int64Array(keys))
	if err != nil {
		return Census{}, wrap("ask for the group's members", err)
	}
	defer func() { _ = rows.Close() }()
	c := Census{Owners: map[string]uint32{}, Others: map[uint32]int{}}
	numbers, held := map[int]uint32{}, map[int64]int{} // by server process; the server process by outbox
	for rows.Next() {
		var class, object int64
		var kind, pid int
		if err := rows.Scan(&class, &object, &kind, &pid); err != nil {
			return Census{}, wrap("ask for the group's members", err)
		}
		switch {
		case kind == 1:
			held[class<<32|object] = pid
		case class == memberLock:
			c.Members = append(c.Members, uint32(object)) //nolint:gosec // it is one
		default:
			numbers[pid] = uint32(object) //nolint:gosec // it is one
		}
	}
	for i, name := range tables {
		if pid, owned := held[keys[i]]; owned {
			c.Owners[name] = numbers[pid]
			delete(held, keys[i])
		}
	}
	for _, pid := range held {
		c.Others[numbers[pid]]++
	}
	return c, wrap("ask for the group's members", rows.Err())
}

// key returns the lock of a table's owner.
func (m *Member) key(ctx context.Context, name string) (int64, error) {
	if key, known := m.keys[name]; known {
		return key, nil
	}
	key, exists, err := ownerLock(ctx, m.conn, name)
	if err == nil && exists {
		m.keys[name] = key
	}
	return key, err
}

// ownerLock returns the lock of a table's owner, and whether the table is there.
func ownerLock(ctx context.Context, q pgtable.Querier, name string) (key int64, exists bool, err error) {
	t, err := parseTable(name)
	if err != nil {
		return 0, false, err
	}
	t, exists, err = resolve(ctx, q, t)
	return t.lockKey(), exists, wrap("find the table", err)
}

// Leave ends the membership at once.
func (m *Member) Leave() { pglease.Discard(m.conn) }

// ClaimAs is [Store.Claim] by a member of a group, whose number the claim's connection then shows.
func (s *Store) ClaimAs(ctx context.Context, owner string, lease time.Duration, at Membership) (*Claim, error) {
	return s.claim(ctx, owner, lease, func(conn *sql.Conn) error {
		// Before the lock on the outbox, so that nobody sees an owner without a number.
		_, err := conn.ExecContext(ctx, fmt.Sprintf(`SELECT pg_try_advisory_lock_shared(%d, %d)`, at.claimLock(), int32(at.Number))) //nolint:gosec // any 32 bits
		return wrap("show the member's number", err)
	})
}
