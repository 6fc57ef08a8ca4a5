package watermillsql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tailrace-go/tailrace/forwarder/internal/mailbox"
	"github.com/tailrace-go/tailrace/internal/pgtable"
)

var errRival = errors.New("another program holds the offsets row: Watermill's forwarder is at work on the same table and group: stop one of the two")

// recorder writes the position to the offsets row, on a connection of its own, whenever it has moved, and
// looks now and then whether somebody else has moved it.
type recorder struct {
	config *Config
	tables tables
	status *status
	// results are for the session.
	results *mailbox.Mailbox[recorded]

	mu   sync.Mutex
	want mark
	wake chan struct{}

	// The rest belongs to run.
	at    position  // as the row has it
	tried *position // what a statement without an answer was to write
	conn  *sql.Conn
	sick  bool
}

// mark is a position and how many rows were passed to get there.
type mark struct {
	at   position
	rows int64
}

// recorded is what became of the position.
type recorded struct {
	// rows are passed and recorded.
	rows int64
	// rival is set while somebody holds the offsets row.
	rival error
	// moved is where somebody else has moved the position.
	moved *position
}

const (
	// recordPause is between two statements: it bounds what they cost, and what a crash repeats.
	recordPause = 5 * time.Millisecond
	// watchEvery is how often an idle recorder looks at the row.
	watchEvery = time.Second
	// statementTimeout bounds a statement when the server does not answer.
	statementTimeout = 30 * time.Second
)

func newRecorder(config *Config, t tables, st *status, at position) *recorder {
	return &recorder{
		config: config, tables: t, status: st, at: at, want: mark{at: at},
		results: mailbox.New[recorded](), wake: make(chan struct{}, 1),
	}
}

// record has a position written, instead of those before it that are not written yet.
func (r *recorder) record(m mark) {
	r.mu.Lock()
	r.want = m
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *recorder) wanted() mark {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.want
}

// run writes until ctx ends or somebody else has moved the position.
func (r *recorder) run(ctx context.Context) {
	defer r.hangUp()
	wait := watchEvery
	const first, most = 20 * time.Millisecond, time.Second
	retry := first
	for {
		timer := time.NewTimer(wait)
		var wake <-chan struct{}
		if wait == watchEvery {
			wake = r.wake
		}
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-wake:
		case <-timer.C:
		}
		timer.Stop()
		want := r.wanted()
		result, err := r.write(ctx, want)
		switch {
		case err == nil:
			r.recover()
			r.results.Put(result)
			if result.moved != nil {
				return
			}
			wait, retry = recordPause, first
			if r.at == r.wanted().at {
				wait = watchEvery
			}
		case ctx.Err() != nil:
			return
		case pgtable.SQLState(err) == pgtable.LockNotAvailable:
			r.results.Put(recorded{rival: errRival})
			wait = first
		default:
			r.hangUp()
			r.fail(err, retry)
			wait, retry = retry, min(2*retry, most)
		}
	}
}

// write moves the row to the wanted position, or looks where it is when it should be there.
func (r *recorder) write(ctx context.Context, want mark) (recorded, error) {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	if err := r.connect(ctx); err != nil {
		return recorded{}, err
	}
	if r.tried == nil && want.at != r.at {
		moved, err := r.tables.move(ctx, r.conn, r.at, want.at)
		if err != nil {
			if pgtable.SQLState(err) == "" {
				r.tried = &want.at
			}
			return recorded{}, err
		}
		if moved {
			r.at = want.at
			return recorded{rows: want.rows}, nil
		}
	}
	at, err := r.tables.at(ctx, r.conn)
	if err != nil {
		return recorded{}, err
	}
	if at != r.at && (r.tried == nil || at != *r.tried) {
		return recorded{moved: &at}, nil
	}
	r.at, r.tried = at, nil
	if at != want.at {
		return recorded{}, nil // to be written next
	}
	return recorded{rows: want.rows}, nil
}

func (r *recorder) connect(ctx context.Context) error {
	if r.conn != nil {
		return nil
	}
	conn, err := r.config.DB.Conn(ctx)
	if err != nil {
		return err
	}
	r.conn = conn
	_, err = conn.ExecContext(ctx, fmt.Sprintf(`SET lock_timeout = %d; SET default_transaction_isolation = 'read committed'`, r.config.LockTimeout.Milliseconds()))
	return err
}

// hangUp closes the connection for good: back in the pool it would keep its settings.
func (r *recorder) hangUp() {
	if r.conn == nil {
		return
	}
	_ = r.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = r.conn.Close()
	r.conn = nil
}

func (r *recorder) fail(err error, retry time.Duration) {
	r.status.database(err)
	if !r.sick {
		r.config.Logger.Warn("could not record the position; trying until it works, meanwhile what is delivered counts as on its way", "error", err, "retry_in", retry)
	}
	r.sick = true
}

func (r *recorder) recover() {
	if r.sick {
		r.status.database(nil)
	}
	r.sick = false
}
