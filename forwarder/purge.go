package forwarder

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder/internal/pace"
)

const (
	// purgeStep bounds one DELETE, so that it never holds many rows at once.
	purgeStep = 5000
	// purgePause lets publishers through between two steps.
	purgePause = 20 * time.Millisecond
	// purgeWhole is how often a purge begins at the lowest id again, for rows that were processed late. The
	// others begin where the last one ended: what was deleted before costs a read until vacuum has been there.
	purgeWhole = time.Hour
)

// purger ends what is past the retention, beside the session that owns the outbox.
type purger struct {
	*Forwarder

	partitions *outbox.Partitions // nil for a plain table
	known      bool               // which of both it is
	from       int64              // what lies below was purged already
	whole      time.Time          // when to begin at the lowest id again
}

// purge works until ctx ends, as the owner or, without purging, beside it.
func (f *Forwarder) purge(ctx context.Context, owner func() bool) {
	p := &purger{Forwarder: f}
	// A partitioned outbox may be short of partitions after a while without a forwarder.
	for wait := time.Duration(0); pace.Sleep(ctx, wait); wait = f.config.PurgeInterval {
		if err := p.round(ctx, wait > 0 && owner()); err != nil && ctx.Err() == nil {
			f.config.Logger.Warn("could not end what is past the retention; trying again at the next interval", "error", err)
		}
	}
}

// round does all there is to do now; the first only makes partitions.
func (p *purger) round(ctx context.Context, purging bool) error {
	if !p.known {
		partitions, err := p.store.OpenPartitions(ctx)
		if err != nil {
			return err
		}
		p.partitions, p.known = partitions, true
	}
	if p.partitions != nil {
		return p.keepPartitions(ctx, purging)
	}
	if !purging {
		return nil
	}
	from := p.from
	if now := time.Now(); !now.Before(p.whole) {
		from, p.whole = 0, now.Add(purgeWhole)
	}
	end, err := p.delete(ctx, from, math.MaxInt64)
	p.from = end
	return err
}

// delete deletes processed rows that are older than the retention, with ids above after and up to upTo about,
// in bounded steps. It returns where the rows begin that stay.
func (p *purger) delete(ctx context.Context, after, upTo int64) (end int64, err error) {
	total := 0
	defer func() {
		if total > 0 {
			p.metrics.purged(total)
			p.config.Logger.Info("purged processed rows", "rows", total, "older_than", p.config.Retention)
		}
	}()
	for more := true; more && after < upTo; {
		last, rest, deleted, err := p.store.Purge(ctx, after, p.config.Retention, purgeStep)
		if err != nil {
			return after, err
		}
		total += deleted
		if !rest {
			return after, nil
		}
		after = last
		if !pace.Sleep(ctx, purgePause) {
			return after, ctx.Err()
		}
	}
	return after, nil
}

// keepPartitions makes partitions ahead of the publishers, and drops those that are past the retention. One
// that is kept for a row that is pending or dead loses its processed rows only.
func (p *purger) keepPartitions(ctx context.Context, purging bool) error {
	made, room, err := p.partitions.Extend(ctx)
	p.metrics.partitionRoom(room)
	if made > 0 {
		p.config.Logger.Info("made partitions", "partitions", made, "room_for_events", room)
	}
	if err != nil || !purging {
		return err
	}
	lowWater, err := p.store.LowWater(ctx)
	if err != nil {
		return err
	}
	keep := p.config.Retention
	if p.config.DeleteProcessed {
		keep = 0
	}
	dropped, held, err := p.partitions.Drop(ctx, lowWater, keep)
	if dropped > 0 {
		p.metrics.droppedPartitions(dropped)
		p.config.Logger.Info("dropped partitions of processed rows", "partitions", dropped, "older_than", keep)
	}
	for _, kept := range held {
		_, purgeErr := p.delete(ctx, kept.Low-1, kept.High)
		err = errors.Join(err, purgeErr)
	}
	return err
}
