package forwarder

import (
	"context"
	"database/sql"
	"time"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

// openPoll is how often the owner of a new shard asks whether it may begin.
const openPoll = 50 * time.Millisecond

// open waits until the events of a new shard may be sent, which of any other table they may at once; see
// [outbox.Claim.Open]. It reports whether they may: they may not when ctx ended, which is no error, or when
// the claim is lost.
func (f *Forwarder) open(ctx context.Context, claim *outbox.Claim) (bool, error) {
	log, told, sampled := f.config.Logger.With("table", f.store.Table()), false, time.Time{}
	defer f.metrics.closedShard.Set(0)
	defer f.status.set(func(s *Status) { s.Opening = "" })
	poll := time.NewTicker(min(openPoll, f.config.Lease/4))
	defer poll.Stop()
	for {
		open, waits, err := claim.Open(ctx)
		if open && told {
			log.Info("the shard is open", "owner", f.config.Owner)
		}
		switch {
		case ctx.Err() != nil:
			return false, nil // Told to stop, it has nothing on its way.
		case open || err != nil:
			return open, err
		}
		if !told {
			told = true
			f.metrics.closedShard.Set(1)
			log.Info("a new shard waits for the older ones", "owner", f.config.Owner, "for", waits)
		}
		f.status.set(func(s *Status) { s.Opening = waits })
		if f.config.Registerer != nil && time.Since(sampled) > sampleEvery {
			sampled = time.Now()
			if found, err := f.store.Backlog(ctx, 0, 0); err == nil {
				f.metrics.backlog(found.Pending, found.Oldest)
			}
		}
		select {
		case <-ctx.Done():
			return false, nil
		case <-poll.C:
		}
	}
}

// shardTables returns the tables of an outbox, itself alone if it is not split.
func shardTables(ctx context.Context, db *sql.DB, table string) ([]string, error) {
	shards, err := outbox.Shards(ctx, db, table)
	tables := make([]string, len(shards))
	for i, shard := range shards {
		tables[i] = shard.Table
	}
	return tables, err
}

// strays notices who writes to a shard that its key has left.
type strays struct {
	moved outbox.Moved
	next  time.Time // when to ask for it again
	told  bool
}

// askEvery is how often the reader asks for newer shards.
const askEvery = 5 * time.Second

func (r *reader) askMoved(ctx context.Context, now time.Time) (err error) {
	if now.Before(r.strays.next) {
		return nil
	}
	if r.strays.moved, err = r.claim.Moved(ctx); err != nil {
		return err
	}
	r.alive(now)
	r.strays.next = now.Add(askEvery)
	return nil
}

// stray counts a row that was written by somebody who does not choose among the shards, and tells of the first.
func (r *reader) stray(row *outbox.Row) {
	if !r.strays.moved.Stray(row) {
		return
	}
	r.metrics.strayTotal.Inc()
	if !r.strays.told {
		r.strays.told = true
		r.config.Logger.Warn("an event was written to a shard that its key has left, so that its order is chance: let every publisher choose among the shards (EVENT_OUTBOX_SHARDS=1)",
			"table", r.config.Table, "topic", row.Topic, "event_id", row.EventID, "row", row.ID)
	}
}
