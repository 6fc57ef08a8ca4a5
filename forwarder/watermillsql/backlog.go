package watermillsql

import (
	"context"
	"database/sql"
	"sync"
	"time"
)

const (
	// sampleEvery is how often the database is asked how much waits, whatever scrapes the metrics how often.
	sampleEvery = 5 * time.Second
	// backlogLimit bounds what is counted.
	backlogLimit = 10_000
)

// sample measures the backlog behind the recorded position while the session runs, if there are metrics.
func (s *session) sample(ctx context.Context) (stop func()) {
	if s.config.Registerer == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var sampling sync.WaitGroup
	sampling.Go(func() {
		ticker := time.NewTicker(sampleEvery)
		defer ticker.Stop()
		for {
			asking, done := context.WithTimeout(ctx, sampleEvery)
			// A database that is away is told by others.
			if rows, oldest, err := s.tables.backlog(asking, s.config.DB); err == nil {
				s.metrics.backlog(rows, oldest)
			}
			done()
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	})
	return func() { cancel(); sampling.Wait() }
}

// backlog counts the rows behind the recorded position; see behind.
func (t tables) backlog(ctx context.Context, db *sql.DB) (rows int64, oldest time.Duration, err error) {
	at, err := t.recorded(ctx, db)
	if err != nil {
		return 0, 0, wrap("read the position", err)
	}
	return t.behind(ctx, db, at)
}

func (t tables) recorded(ctx context.Context, db *sql.DB) (at position, err error) {
	err = db.QueryRowContext(ctx, `SELECT `+columns+` FROM `+t.offsets+` WHERE consumer_group = $1`, t.group).Scan(&at.offset, &at.transaction)
	return at, err
}

// behind counts the rows behind a position, up to backlogLimit, and tells the age of the first. created_at
// has no time zone: the age is right if this session has the publisher's.
func (t tables) behind(ctx context.Context, db *sql.DB, at position) (rows int64, oldest time.Duration, err error) {
	var seconds float64
	err = db.QueryRowContext(ctx, t.backlogQuery(), decimal(at.transaction), at.offset, backlogLimit).Scan(&rows, &seconds)
	return rows, time.Duration(seconds * float64(time.Second)), wrap("count what waits", err)
}
