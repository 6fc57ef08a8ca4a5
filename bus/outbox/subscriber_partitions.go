package outbox

import (
	"context"
	"time"

	"github.com/ThreeDotsLabs/watermill"
)

// extendInterval is how often the owner of a partitioned table looks how far its partitions reach.
const extendInterval = time.Minute

// room makes the partitions of a partitioned table ahead of its publishers.
type room struct {
	partitions *Partitions // nil for a plain table
	known      bool        // which of both it is
	next       time.Time
}

// makeRoom does, between two reads, what publishers would end without.
func (s *subscription) makeRoom(ctx context.Context) {
	now := time.Now()
	if now.Before(s.room.next) {
		return
	}
	s.room.next = now.Add(extendInterval)
	made, left, err := s.room.extend(ctx, s.store)
	switch {
	case err != nil && ctx.Err() == nil:
		s.logger.Error("Could not make partitions, trying again in a minute", err, nil)
	case made > 0:
		s.logger.Info("Made partitions", watermill.LogFields{"partitions": made, "room_for_events": left})
	}
}

func (r *room) extend(ctx context.Context, store *Store) (made int, left int64, err error) {
	if !r.known {
		if r.partitions, err = store.OpenPartitions(ctx); err != nil {
			return 0, 0, err
		}
		r.known = true
	}
	if r.partitions == nil {
		return 0, 0, nil
	}
	return r.partitions.Extend(ctx)
}
