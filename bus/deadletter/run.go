package deadletter

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// batchLetters is how many letters are sent before their settling is committed: what a run that is killed
// may send twice.
const batchLetters = 100

// run is one Requeue or Discard.
type run struct {
	Config

	// plan says what is to be done with a letter, and settle does it for a batch.
	plan     func(Letter) (delivery.Record, Fate)
	settle   func(ctx context.Context, batch []item) error
	outbound *outbound
	taken    int // for Limit
	report   Report
	// fences keep the letters of one key in order across a failure.
	fences map[topicKey]*delivery.Fence

	// The partition that is being worked on.
	at   Partition
	done progress
}

type topicKey struct{ topic, key string }

// item is a chosen letter, what is to be sent for it, and its fate: first as planned, then as it was.
type item struct {
	Letter

	record delivery.Record
	fate   Fate
}

func newRun(config Config) *run {
	return &run{Config: config, fences: map[topicKey]*delivery.Fence{}, report: Report{Outcomes: map[Outcome]int{}}}
}

func (r *run) do(ctx context.Context) (Report, error) {
	partitions, err := r.Mailbox.Partitions(ctx)
	if err != nil {
		return r.report, err
	}
	if err := r.renew(ctx, partitions); err != nil {
		return r.report, err
	}
	for _, partition := range partitions {
		if r.full() {
			break
		}
		if err := r.partition(ctx, partition); err != nil {
			return r.report, err
		}
	}
	return r.report, nil
}

// renew commits again what is committed: brokers forget what nobody commits for a week, and then every letter
// would be sent again. It is done before anything else, since what was read a while ago would take back what
// another run has noted meanwhile.
func (r *run) renew(ctx context.Context, partitions []Partition) error {
	if r.DryRun {
		return nil
	}
	for _, p := range partitions {
		if p.Committed < 0 {
			continue
		}
		if err := r.Mailbox.Commit(ctx, p.ID, p.Committed, p.Note); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) full() bool { return r.Limit > 0 && r.taken >= r.Limit }

func (r *run) partition(ctx context.Context, partition Partition) (err error) {
	r.at = partition
	if r.done, err = partition.progress(); err != nil {
		return err
	}
	var batch []item
	next := r.done.next // the offset after the last one read
	err = r.Mailbox.Read(ctx, partition.ID, next, partition.End, func(record Record) error {
		if r.full() {
			return ErrEnough
		}
		r.done.settle(next, record.Offset) // there are no records at these offsets
		next = record.Offset + 1
		if r.done.settled(record.Offset) {
			return nil
		}
		r.report.Read++
		l := Read(record)
		if !r.Filter.Match(l) {
			return nil
		}
		r.report.Chosen++
		original, fate := r.plan(l)
		if fate.Outcome == Left {
			r.tell(l, fate)
			return nil
		}
		r.taken++
		if batch = append(batch, item{l, original, fate}); len(batch) < batchLetters {
			return nil
		}
		err := r.flush(ctx, batch)
		batch = batch[:0]
		return err
	})
	if err != nil && !errors.Is(err, ErrEnough) {
		return err
	}
	return r.flush(ctx, batch)
}

func (r *run) tell(l Letter, fate Fate) {
	r.report.Outcomes[fate.Outcome]++
	if r.Tell != nil {
		r.Tell(l, fate)
	}
}

// flush settles a batch and then commits what is settled of it, also when it ends with an error.
func (r *run) flush(ctx context.Context, batch []item) error {
	if len(batch) == 0 {
		return nil
	}
	var failure error
	if !r.DryRun {
		if err := r.ready(ctx, batch); err != nil {
			return err
		}
		failure = r.settle(ctx, batch)
		if err := r.commit(ctx, batch); err != nil {
			return err
		}
	}
	for _, one := range batch {
		r.tell(one.Letter, one.fate)
	}
	return failure
}

// ready makes sure, before anything is sent, that it can be noted, and that nobody else is at work.
func (r *run) ready(ctx context.Context, batch []item) error {
	expected := progress{r.done.next, slices.Clone(r.done.spans)}
	for _, one := range batch {
		expected.settle(one.Offset, one.Offset+1)
	}
	if len(expected.note()) > maxNote {
		return ErrTooManyGaps
	}
	partitions, err := r.Mailbox.Partitions(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(partitions, func(p Partition) bool { return p.ID == r.at.ID })
	if i < 0 || partitions[i].Committed != r.at.Committed || partitions[i].Note != r.at.Note {
		return ErrBusy
	}
	return nil
}

// commit notes what is settled of a batch. It outlives the run's context, since that was sent.
func (r *run) commit(ctx context.Context, batch []item) error {
	changed := false
	for _, one := range batch {
		switch one.fate.Outcome {
		case Requeued, Revived, Delivered, Discarded:
			r.done.settle(one.Offset, one.Offset+1)
			changed = true
		case Left, Failed:
		}
	}
	if !changed {
		return nil
	}
	var tooMany error
	note := r.done.note()
	for len(note) > maxNote { // letters in between failed; those that cannot be noted are sent again
		tooMany = ErrTooManyGaps
		r.done.spans = r.done.spans[:len(r.done.spans)-1]
		note = r.done.note()
	}
	if err := r.Mailbox.Commit(context.WithoutCancel(ctx), r.at.ID, r.done.next, note); err != nil {
		return err
	}
	r.at.Committed, r.at.Note = r.done.next, note
	return tooMany
}

// outbound sends records and waits for what becomes of them.
type outbound struct {
	stream delivery.Stream

	mu       sync.Mutex
	verdicts map[int64]delivery.Verdict
	want     int
	settled  chan struct{}
}

func newOutbound(sender delivery.Sender) *outbound {
	o := &outbound{}
	o.stream = sender.Stream(delivery.StreamConfig{Report: o.reported})
	return o
}

func (o *outbound) reported(records []*delivery.Record, verdict delivery.Verdict) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, record := range records {
		o.verdicts[record.Ref] = verdict
	}
	if len(o.verdicts) == o.want {
		close(o.settled)
	}
}

// send returns the verdict on each record. It waits for a broker that is away until the stream is closed.
func (o *outbound) send(records []*delivery.Record) []delivery.Verdict {
	if len(records) == 0 {
		return nil
	}
	o.mu.Lock()
	o.verdicts, o.want, o.settled = map[int64]delivery.Verdict{}, len(records), make(chan struct{})
	o.mu.Unlock()
	for i, record := range records {
		record.Ref = int64(i)
	}
	o.stream.Send(records)
	<-o.settled
	verdicts := make([]delivery.Verdict, len(records))
	for i, verdict := range maps.All(o.verdicts) {
		verdicts[i] = verdict
	}
	return verdicts
}
