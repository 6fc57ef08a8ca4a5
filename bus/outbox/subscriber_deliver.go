package outbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/delivery"
)

const (
	outageMin = 100 * time.Millisecond
	outageMax = 10 * time.Second
	probeMin  = 250 * time.Millisecond
	probeMax  = 15 * time.Second
)

// topicPause is a topic that cannot be written to. Its rows are left out of reads until then; the first
// one after that is the probe.
type topicPause struct {
	until, countAt time.Time
	wait           time.Duration
}

// errNacked stands for the reason that nobody noted.
var errNacked = errors.New("outbox: the handler nacked the message; outbox.NoteFailures would record why")

// errStopped: the subscription was told to end before the message was acked or nacked.
var errStopped = errors.New("outbox: the subscription ended")

// deliverAll delivers rows one by one and returns how many were acked or counted, and how long to pause
// before anything else is delivered.
func (s *subscription) deliverAll(ctx context.Context, rows []Row, blocked map[keyID]struct{}) (done int, pause time.Duration, err error) {
	for _, row := range rows {
		id := keyID{topic: row.Topic, key: string(row.Key)}
		if _, waits := blocked[id]; waits && row.Key != nil || s.isPaused(row.Topic) {
			continue
		}
		if row.Wait > 0 {
			block(blocked, id, row)
			continue
		}
		if time.Since(s.settledAt) > settleInterval {
			if err := s.settle(ctx); err != nil {
				return done, 0, err
			}
		}
		if ctx.Err() != nil || !s.claim.Valid() {
			return done, 0, nil //nolint:nilerr // The end of the subscription is no error of its rows.
		}
		failure := s.deliver(ctx, row)
		switch {
		case errors.Is(failure, errStopped):
			return done, 0, nil
		case failure == nil:
			s.acked = append(s.acked, row.ID)
			if s.outage > 0 {
				s.outage = 0
				s.note(func(now *SubscriberState) { now.Transport = nil })
			}
			delete(s.paused, row.Topic)
			done++
			continue
		}
		if err := s.settle(ctx); err != nil {
			return done, 0, err
		}
		switch s.config.Fault(failure) {
		case delivery.Delivered, delivery.Refused:
		case delivery.Transport, delivery.Withheld:
			s.outage = min(max(2*s.outage, outageMin), outageMax)
			s.note(func(now *SubscriberState) { now.Transport = failure })
			s.logger.Error("Could not deliver for the transport's sake; no event is blamed", failure, watermill.LogFields{"retry_in": s.outage})
			return done, s.outage, nil
		case delivery.Topic:
			if !s.pauseTopic(row.Topic, failure) {
				continue
			}
		}
		if err := s.fail(ctx, row, failure); err != nil {
			return done, 0, err
		}
		block(blocked, id, row)
		done++
	}
	return done, 0, nil
}

func block(blocked map[keyID]struct{}, id keyID, row Row) {
	if row.Key != nil {
		blocked[id] = struct{}{}
	}
}

func (s *subscription) isPaused(topic string) bool {
	pause := s.paused[topic]
	return pause != nil && time.Now().Before(pause.until)
}

// pauseTopic pauses a topic and reports whether this failure counts against the row.
func (s *subscription) pauseTopic(topic string, reason error) (counts bool) {
	now := time.Now()
	pause := s.paused[topic]
	if pause == nil {
		pause = &topicPause{countAt: now.Add(s.config.TopicRetry), wait: probeMin / 2}
		s.paused[topic] = pause
		s.logger.Error("A topic can't be written to; its events wait, other topics flow: create the topic, or let this client write to it",
			reason, watermill.LogFields{"destination_topic": topic})
	}
	pause.wait = min(2*pause.wait, probeMax)
	pause.until = now.Add(pause.wait)
	if now.Before(pause.countAt) {
		return false
	}
	pause.countAt = now.Add(s.config.TopicRetry)
	return true
}

// deliver hands a row over and waits for its ack. It returns nil for an ack, errStopped when the
// subscription ended first, else why the row was not delivered.
func (s *subscription) deliver(ctx context.Context, row Row) error {
	msg, err := s.message(row)
	if err != nil {
		return err
	}
	noted := new(failure)
	live, cancel := context.WithCancel(context.WithValue(s.values, failureKey{}, noted))
	defer cancel()
	msg.SetContext(live)
	select {
	case s.out <- msg:
	case <-ctx.Done():
		return errStopped
	}
	stopping := ctx.Done()
	var deadline <-chan time.Time
	for {
		select {
		case <-msg.Acked():
			return nil
		case <-msg.Nacked():
			if ctx.Err() != nil {
				// A handler that fails while everything ends says nothing about its event.
				return errStopped
			}
			if reason := noted.get(); reason != nil {
				return reason
			}
			return errNacked
		case <-stopping:
			stopping = nil
			timer := time.NewTimer(s.config.CloseTimeout)
			defer timer.Stop()
			deadline = timer.C
		case <-deadline:
			s.mu.Lock()
			s.unfinished++
			s.mu.Unlock()
			s.logger.Error("A handler did not finish in time; its event will be delivered again", errStopped, watermill.LogFields{"event_id": row.EventID, "row": row.ID})
			return errStopped
		}
	}
}

// fail counts an attempt against the row. When it was the last, the row's copy goes to the dead letters
// first; if it cannot, the row and its key wait.
func (s *subscription) fail(ctx context.Context, row Row, reason error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.CloseTimeout)
	defer cancel()
	pause := s.backoff(row.RetryCount)
	text := deadletter.Reason(reason)
	fields := watermill.LogFields{"destination_topic": row.Topic, "event_id": row.EventID, "row": row.ID, "attempts": row.RetryCount + 1}
	counted, err := s.store.Retry(ctx, []int64{row.ID}, text, pause)
	if err != nil {
		return err
	}
	if len(counted) > 0 {
		s.logger.Error("An event could not be delivered and will be tried again", reason, fields.Add(watermill.LogFields{"retry_in": pause}))
		return nil
	}
	if err := s.bury(row, reason); err != nil {
		s.logger.Error("The copy of a dead event could not be delivered; its key waits: create the dead-letter topic, or let this client write to it",
			err, fields.Add(watermill.LogFields{"dead_letter_topic": s.config.DeadLetterTopic, "retry_in": pause}))
		return s.postpone(ctx, row.ID, text, pause)
	}
	s.logger.Error("An event is dead: its row stays; mend the cause, then set retry_count = 0 to send it again", reason, fields)
	return s.store.Kill(ctx, row.ID, text)
}

// postpone lets a row wait without counting an attempt.
func (s *subscription) postpone(ctx context.Context, id int64, reason string, after time.Duration) error {
	_, err := s.config.DB.ExecContext(ctx, `UPDATE `+s.table.quoted()+` SET error_message = $2, next_attempt_at = now() + $3 * interval '1 microsecond'
		WHERE id = $1 AND processed_at IS NULL`, id, reason, after.Microseconds())
	if err != nil {
		return fmt.Errorf("outbox: postpone a row: %w", err)
	}
	return nil
}

// bury sends the copy. One that is itself refused goes again without its payload, which the row has.
func (s *subscription) bury(row Row, reason error) error {
	if s.config.DeadLetters == nil {
		return nil
	}
	metadata, err := s.metadata(row)
	if err != nil {
		metadata = message.Metadata{}
	}
	for _, name := range deadletter.Headers() {
		delete(metadata, name)
	}
	metadata[deadletter.HeaderSource] = deadletter.SourceOutbox
	metadata[deadletter.HeaderReason] = deadletter.Reason(reason)
	metadata[deadletter.HeaderTopic] = row.Topic
	metadata[deadletter.HeaderAttempts] = strconv.Itoa(row.RetryCount + 1)
	metadata[deadletter.HeaderLastFailure] = deadletter.Time(time.Now())
	metadata[deadletter.HeaderRow] = strconv.FormatInt(row.ID, 10)
	if row.Key != nil {
		metadata[deadletter.HeaderKey] = string(row.Key)
		metadata[delivery.KeyMetadata] = string(row.Key)
	}
	send := func(payload []byte) error {
		dead := message.NewMessage(row.EventID, payload)
		dead.Metadata = metadata
		return s.config.DeadLetters.Publish(s.config.DeadLetterTopic, dead)
	}
	err = send(row.Payload)
	if err == nil || s.config.Fault(err) != delivery.Refused {
		return err
	}
	metadata[deadletter.HeaderOmitted] = strconv.Itoa(len(row.Payload))
	return send(nil)
}

// backoff doubles with each attempt; a quarter of it is random.
func (s *subscription) backoff(attempts int) time.Duration {
	d := s.config.RetryMin
	for range min(attempts, 40) {
		if d *= 2; d >= s.config.RetryMax {
			d = s.config.RetryMax
			break
		}
	}
	return d - rand.N(d/4+1)
}
