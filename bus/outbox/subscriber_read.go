package outbox

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/internal/pgtable"
)

const (
	// floorInterval is how often the floor is raised; a read passes over what was settled meanwhile.
	floorInterval = time.Second
	// settleInterval is how long an acked row may wait to be marked as processed.
	settleInterval = 100 * time.Millisecond
	sweepStep      = 10_000
)

// subscription reads one topic, or all.
type subscription struct {
	*Subscriber
	topic string
	out   chan *message.Message
	// values carries what the subscriber's context holds, without its end.
	values context.Context //nolint:containedctx // A message's context is made from it.
	logger watermill.LoggerAdapter

	claim *Claim
	// Every row at or below floor is settled, or dead, or is for the sweep to find.
	floor     int64
	candidate int64
	holders   Holders
	raisedAt  time.Time
	sweptAt   time.Time

	// acked rows are settled together; they are not delivered again while this process lives.
	acked     []int64
	settledAt time.Time
	paused    map[string]*topicPause
	outage    time.Duration
	room      room
}

// keyID is what rows of one order share.
type keyID struct{ topic, key string }

func newSubscription(ctx context.Context, s *Subscriber, topic string) *subscription {
	return &subscription{
		Subscriber: s, topic: topic, out: make(chan *message.Message), values: context.WithoutCancel(ctx),
		logger: s.logger.With(watermill.LogFields{"table": s.table.quoted(), "topic": topic}), paused: map[string]*topicPause{},
	}
}

func (s *subscription) run(ctx context.Context) {
	for !s.takeTurn(s.topic) {
		if pgtable.Wait(ctx, s.config.StandbyPoll) != nil {
			return
		}
	}
	defer s.endTurn(s.topic)
	for ctx.Err() == nil {
		pause, err := s.cycle(ctx)
		switch {
		case errors.Is(err, ErrOwned):
			s.note(func(now *SubscriberState) { *now = SubscriberState{} })
			pause = s.config.StandbyPoll
		case err != nil:
			s.note(func(now *SubscriberState) { now.Owner, now.Database = false, err })
			s.logger.Error("Could not read or settle the outbox, trying again", err, nil)
			pause = s.config.RetryMin
		}
		if pause > 0 && pgtable.Wait(ctx, pause) != nil {
			break
		}
	}
	if err := s.settle(ctx); err != nil {
		s.logger.Error("Could not mark acked events as processed; they will be delivered again", err, watermill.LogFields{"events": len(s.acked)})
	}
}

// cycle reads and delivers once. It returns how long to wait before the next.
func (s *subscription) cycle(ctx context.Context) (time.Duration, error) {
	if err := s.settle(ctx); err != nil {
		return 0, err
	}
	if err := s.owner.use(ctx, s.prepare); err != nil {
		return 0, err
	}
	s.note(func(now *SubscriberState) { now.Owner, now.Database = true, nil })
	s.makeRoom(ctx)
	delivered := 0
	blocked := map[keyID]struct{}{}
	for after := s.floor; ctx.Err() == nil; {
		var rows []Row
		anew := false
		err := s.owner.use(ctx, func(ctx context.Context, c *Claim) (err error) {
			if anew = c != s.claim; !anew {
				rows, err = s.read(ctx, c, after)
			}
			return err
		})
		if err != nil || anew {
			return 0, err
		}
		n, pause, err := s.deliverAll(ctx, rows, blocked)
		if err != nil || pause > 0 {
			return pause, errors.Join(err, s.settle(ctx))
		}
		if delivered += n; delivered > 0 || len(rows) < s.config.BatchSize {
			break
		}
		// A whole batch of rows that wait: what may be delivered is behind it.
		after = rows[len(rows)-1].ID
	}
	if err := s.settle(ctx); err != nil {
		return 0, err
	}
	if delivered > 0 {
		return 0, nil
	}
	return s.config.PollInterval, nil
}

// prepare keeps the floor: it starts from the stored low-water mark under a new claim, rises over what
// is settled and falls to what became pending again.
func (s *subscription) prepare(ctx context.Context, c *Claim) (err error) {
	now := time.Now()
	if c != s.claim {
		if s.floor, err = c.Start(ctx); err != nil {
			return err
		}
		s.claim, s.candidate, s.raisedAt, s.sweptAt = c, 0, now, time.Time{}
	}
	if now.Sub(s.raisedAt) >= floorInterval {
		s.raisedAt = now
		if err := s.raise(ctx, c); err != nil {
			return err
		}
	}
	if now.Sub(s.sweptAt) >= s.config.SweepInterval {
		s.sweptAt = now
		return s.sweep(ctx, c)
	}
	return nil
}

// raise moves the floor up in two looks. The first finds how far everything is settled, and who may
// still commit a row below that: whoever holds a lock on the table or its sequence. Once all of those
// have ended, the second look finds what they committed.
func (s *subscription) raise(ctx context.Context, c *Claim) error {
	if s.candidate == 0 {
		issued, err := c.Issued(ctx)
		if err != nil {
			return err
		}
		first, err := s.firstPending(ctx, c)
		if err != nil {
			return err
		}
		if first > 0 {
			issued = min(issued, first-1)
		}
		if issued <= s.floor {
			return nil
		}
		s.candidate = issued
		s.holders, err = c.Holders(ctx)
		return err
	}
	now, err := c.Holders(ctx)
	if err != nil {
		return err
	}
	prepared := false
	for holder := range now {
		// PREPARE TRANSACTION gives a holder a new name; any of them may be the one that was seen.
		prepared = prepared || Prepared(holder)
	}
	maps.DeleteFunc(s.holders, func(holder string, _ uint32) bool { _, still := now[holder]; return !still && !prepared })
	if len(s.holders) > 0 {
		return nil
	}
	first, err := s.firstPending(ctx, c)
	if err != nil {
		return err
	}
	if first > 0 {
		s.candidate = min(s.candidate, first-1)
	}
	s.floor, s.candidate = max(s.floor, s.candidate), 0
	if s.topic == ForwarderTopic {
		return c.Mark(ctx, s.floor)
	}
	return nil
}

// sweep looks for pending rows at or below the floor: an operator's, or a replay's.
func (s *subscription) sweep(ctx context.Context, c *Claim) error {
	for after := int64(0); after < s.floor; {
		ids, last, err := c.Unsettled(ctx, after, s.floor, sweepStep)
		if err != nil {
			return err
		}
		if len(ids) > 0 {
			s.floor, s.candidate = ids[0]-1, 0
			return nil
		}
		after = last
	}
	return nil
}

const pendingRow = `processed_at IS NULL AND retry_count < max_retries`

func (s *subscription) firstPending(ctx context.Context, c *Claim) (first int64, err error) {
	err = c.do("look for the first pending row", func() error {
		err := c.conn.QueryRowContext(ctx, `SELECT id FROM `+s.table.quoted()+` WHERE id > $1 AND `+pendingRow+
			` AND ($2::text IS NULL OR topic = $2) ORDER BY id LIMIT 1`, s.floor, s.topicArg()).Scan(&first)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return first, err
}

// read returns the next rows in id order. Rows whose next attempt is not due, and those behind one in
// their key, are left out by the one snapshot that all of them are read from.
func (s *subscription) read(ctx context.Context, c *Claim, after int64) (rows []Row, err error) {
	topics := newArray(64)
	now := time.Now()
	for topic, pause := range s.paused {
		if now.Before(pause.until) {
			topics.text(topic)
		}
	}
	name := s.table.quoted()
	err = c.do("read", func() error {
		found, err := c.conn.QueryContext(ctx, `WITH waiting AS MATERIALIZED (SELECT topic, key FROM `+name+`
				WHERE retry_count > 0 AND `+pendingRow+` AND next_attempt_at > now() AND key IS NOT NULL)
			SELECT id, true, event_id, topic, payload, key, headers, retry_count, max_retries,
				CASE WHEN next_attempt_at > now() THEN extract(epoch FROM next_attempt_at - now())::float8 END, `+ageMicroseconds+`
			FROM `+name+` WHERE id > $1 AND `+pendingRow+` AND ($3::text IS NULL OR topic = $3) AND topic <> ALL($4::text[])
				AND (retry_count = 0 OR next_attempt_at IS NULL OR next_attempt_at <= now())
				AND (key IS NULL OR (topic, key) NOT IN (SELECT topic, key FROM waiting))
			ORDER BY id LIMIT $2`, after, s.config.BatchSize, s.topicArg(), topics.String())
		if err != nil {
			return err
		}
		rows, _, err = scanRows(found, nil, 0)
		return err
	})
	return rows, err
}

func (s *subscription) topicArg() sql.NullString {
	return sql.NullString{String: s.topic, Valid: s.topic != ForwarderTopic}
}

// settle marks what was acked as processed. It does so also after the subscription was told to end.
func (s *subscription) settle(ctx context.Context) error {
	s.settledAt = time.Now()
	if len(s.acked) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.CloseTimeout)
	defer cancel()
	if err := s.store.Settle(ctx, s.acked); err != nil {
		return err
	}
	s.acked = s.acked[:0]
	return nil
}
