package deadletter

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// Config is what [Requeue] and [Discard] do. Mailbox is required, and Sender to requeue.
type Config struct {
	// Mailbox is the dead-letter topic.
	Mailbox Mailbox
	// Sender sends what is requeued. It stays the caller's to close.
	Sender delivery.Sender
	// Outbox makes the rows of dead events pending again. Without one, the letters of an outbox are left.
	Outbox Outbox
	// Filter chooses letters; the zero value chooses all.
	Filter Filter
	// Limit is how many chosen letters are settled at most; default no limit.
	Limit int
	// MaxRequeues is how often a message may be requeued in all, so that one which dies each time does not
	// go round for ever; default [DefaultMaxRequeues], negative for no limit. It does not bound outbox rows.
	MaxRequeues int
	// DryRun only says what would be done.
	DryRun bool
	// Tell, if set, is called with each chosen letter and what became of it, once that is certain.
	Tell func(Letter, Fate)
}

// DefaultMaxRequeues is how often a message is requeued at most.
const DefaultMaxRequeues = 5

// Validate returns every fault of the configuration, joined.
func (c Config) Validate() error {
	var faults []error
	if c.Mailbox == nil {
		faults = append(faults, errors.New("deadletter: Mailbox is missing: give the dead-letter topic, for instance kafka.NewMailbox's"))
	}
	if c.Limit < 0 {
		faults = append(faults, fmt.Errorf("deadletter: Limit is %d: must not be negative", c.Limit))
	}
	return errors.Join(faults...)
}

// Outbox is the outbox that dead events came from; bus/outbox has one.
type Outbox interface {
	// Revive makes a dead row pending again. A row that has this id and another event is not the letter's.
	Revive(ctx context.Context, row int64, eventID string) (RowState, error)
}

// RowState is what became of the row of a dead event.
type RowState uint8

const (
	// RowMissing: there is no such row.
	RowMissing RowState = iota
	// RowRevived: it was dead and is pending.
	RowRevived
	// RowAlive: it was pending or delivered already.
	RowAlive
	// RowDying: it was pending, and its last attempt is made or may be made any time. The letter is sent
	// before the death is noted in the row, so it may be that letter.
	RowDying
)

// Outcome is what became of a chosen letter.
type Outcome string

const (
	// Requeued: its topic has the record again.
	Requeued Outcome = "requeued"
	// Revived: its outbox row is pending again.
	Revived Outcome = "revived"
	// Delivered: its outbox row was pending or delivered already, so there was nothing to do.
	Delivered Outcome = "delivered"
	// Discarded: it was settled without being sent.
	Discarded Outcome = "discarded"
	// Left: it cannot be requeued, as the error says, and stays for later runs.
	Left Outcome = "left"
	// Failed: it could not be sent, as the error says, and stays for later runs.
	Failed Outcome = "failed"
)

// Fate is what became of a chosen letter, and why if it is [Left] or [Failed].
type Fate struct {
	Outcome Outcome
	Err     error
}

// Report counts what a run did.
type Report struct {
	// Read counts the letters that were not settled before, Chosen those of them that the filter chose.
	Read, Chosen int
	// Outcomes counts the chosen by what became of them (or would, in a dry run).
	Outcomes map[Outcome]int
}

var (
	// ErrBusy says that another run moved the progress meanwhile.
	ErrBusy = errors.New("deadletter: another run is at work in this group: wait for its end and run again")
	// ErrTooManyGaps says that no more letters can be settled before those between them.
	ErrTooManyGaps = errors.New("deadletter: too many letters were left out between those settled: requeue or discard the oldest first")
	// ErrNoOutbox says that a letter's event is still in an outbox, which the run was not given.
	ErrNoOutbox = errors.New("deadletter: the event is still in its outbox, from where it is to be sent again: give the run that outbox's database")
	// ErrNoRow says that a letter's event is not in the outbox.
	ErrNoRow = errors.New("deadletter: the outbox has no such row: it is another outbox's, or the event was delivered and purged; discard the letter if so")
	// ErrDying says that a letter's event is at its last attempt, or that its death is just being noted.
	ErrDying = errors.New("deadletter: the row is pending at its last attempt: run again when that is over")
	// ErrTooOften says that a letter was requeued Config.MaxRequeues times and died each time.
	ErrTooOften = errors.New("deadletter: the message died after each requeue: mend the cause, and raise the limit to try again")
	// ErrBehind says that an earlier letter of the same key failed in this run.
	ErrBehind = errors.New("deadletter: an earlier letter of its key could not be sent")
)

// Requeue sends the chosen letters back to where they came from, up to the topic's end as it is now, those
// of a partition in order. It returns when all are settled, or with an error that ended it early: what is
// settled until then is kept, and another run goes on. A letter that is left or has failed is no such
// error; the report counts them.
func Requeue(ctx context.Context, config Config) (Report, error) {
	if err := config.Validate(); err != nil {
		return Report{}, err
	}
	if config.Sender == nil && !config.DryRun {
		return Report{}, errors.New("deadletter: Sender is missing: give what sends to Kafka, for instance a kafka.Sender")
	}
	config.MaxRequeues = cmp.Or(config.MaxRequeues, DefaultMaxRequeues)
	r := newRun(config)
	r.plan, r.settle = r.planRequeue, r.requeue
	if !config.DryRun {
		r.outbound = newOutbound(config.Sender)
		stop := context.AfterFunc(ctx, r.outbound.stream.Close)
		defer r.outbound.stream.Close()
		defer stop()
	}
	return r.do(ctx)
}

// Discard settles the chosen letters without sending anything.
func Discard(ctx context.Context, config Config) (Report, error) {
	if err := config.Validate(); err != nil {
		return Report{}, err
	}
	r := newRun(config)
	r.plan = func(Letter) (delivery.Record, Fate) { return delivery.Record{}, Fate{Outcome: Discarded} }
	r.settle = func(context.Context, []item) error { return nil }
	return r.do(ctx)
}

// requeue carries out what was planned for a batch of one partition, and notes what failed.
func (r *run) requeue(ctx context.Context, batch []item) error {
	var records []*delivery.Record
	var sent []*item
	for i := range batch {
		if one := &batch[i]; one.fate.Outcome == Requeued {
			records, sent = append(records, &one.record), append(sent, one)
		}
	}
	for i, verdict := range r.outbound.send(records) {
		switch {
		case verdict.Fault == delivery.Delivered:
		case verdict.Fault == delivery.Withheld && ctx.Err() == nil:
			sent[i].fate = Fate{Failed, fmt.Errorf("%w: %w", ErrBehind, verdict.Err)}
		default:
			sent[i].fate = Fate{Failed, verdict.Err}
		}
	}
	failure := ctx.Err()
	for i := range batch {
		one := &batch[i]
		if one.fate.Outcome != Revived {
			continue
		}
		var state RowState
		if failure == nil {
			state, failure = r.Outbox.Revive(ctx, one.Row, one.EventID)
		}
		switch {
		case failure != nil:
			one.fate = Fate{Failed, failure}
		case state == RowMissing:
			one.fate = Fate{Left, fmt.Errorf("%w (row %d)", ErrNoRow, one.Row)}
		case state == RowDying:
			one.fate = Fate{Left, fmt.Errorf("%w (row %d)", ErrDying, one.Row)}
		case state == RowAlive:
			one.fate.Outcome = Delivered
		}
	}
	return failure
}

// planRequeue says what is to be done with a letter.
func (r *run) planRequeue(l Letter) (delivery.Record, Fate) {
	left := func(err error) (delivery.Record, Fate) { return delivery.Record{}, Fate{Left, err} }
	if l.Source == SourceOutbox && l.Row > 0 {
		if r.Outbox == nil {
			return left(ErrNoOutbox)
		}
		return delivery.Record{}, Fate{Outcome: Revived}
	}
	if r.MaxRequeues >= 0 && l.Requeues >= r.MaxRequeues {
		return left(fmt.Errorf("%w (%d times)", ErrTooOften, l.Requeues))
	}
	record, err := l.Original()
	if err != nil {
		return left(err)
	}
	if record.Key != nil {
		key := topicKey{record.Topic, string(record.Key)}
		if r.fences[key] == nil {
			r.fences[key] = new(delivery.Fence)
		}
		record.Fence = r.fences[key]
	}
	return record, Fate{Outcome: Requeued}
}
