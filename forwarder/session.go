package forwarder

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder/internal/mailbox"
	"github.com/tailrace-go/tailrace/forwarder/internal/sends"
)

var errLease = errors.New("forwarder: the claim on the outbox is no longer certain: the process or the database stood still for longer than the lease")

// session is one ownership of an outbox, from claim to release. Its state belongs to the goroutine that
// runs loop; reader, sender and settler reach it through channels and mailboxes.
type session struct {
	config  *Config
	metrics *metrics
	status  *status
	log     *slog.Logger

	claim   *outbox.Claim
	reader  *reader
	stream  delivery.Stream
	settler *settler
	reports *mailbox.Mailbox[report]
	denied  atomic.Bool

	topics map[string]*topicState
	lone   map[*keyState]struct{} // rows without key that wait by themselves
	names  headerNames
	blocks headerBlocks

	chunks    map[int64]*chunk
	lastChunk int64
	flying    int   // entries not done
	bytes     int64 // of these
	out       []*delivery.Record
	alarms    alarms
	queue     []*keyState         // holds whose rows are to be read again
	wanted    map[int64]*keyState // ids of the fetch that is under way; nil for a suspect
	suspects  []int64
	suspected map[int64]struct{} // those and the ones that are being read
	frontier  int64
	drains    []*drain
	closing   bool
	last      int64
	sampler   *sampler // nil without metrics
	sampleAt  time.Time
	held      heldNow
	sends     sends.Sends
}

// report is a verdict as the sender gave it.
type report struct {
	records []*delivery.Record
	verdict delivery.Verdict
}

func newSession(f *Forwarder, claim *outbox.Claim, lowWater int64) *session {
	s := &session{
		config: &f.config, metrics: f.metrics, status: &f.status, log: f.config.Logger,
		claim: claim, reader: newReader(&f.config, f.metrics, claim, lowWater),
		settler: newSettler(f.store, &f.config, f.metrics, &f.status),
		reports: mailbox.New[report](),
		topics:  map[string]*topicState{}, lone: map[*keyState]struct{}{}, names: headerNames{},
		chunks: map[int64]*chunk{}, wanted: map[int64]*keyState{}, suspected: map[int64]struct{}{}, frontier: lowWater, last: lowWater,
		sends: f.sends,
	}
	if f.config.Registerer != nil {
		s.sampler = newSampler(f.store, f.metrics)
	}
	s.stream = f.config.Sender.Stream(delivery.StreamConfig{
		Permit: s.permit,
		Report: func(records []*delivery.Record, verdict delivery.Verdict) {
			s.reports.Put(report{records, verdict})
		},
		Unreachable: s.status.broker,
	})
	return s
}

// run forwards until ctx ends, and then finishes what is on its way, or until the claim is lost.
func (s *session) run(ctx context.Context, drains <-chan *drain) error {
	reading, abortReading := context.WithCancel(context.WithoutCancel(ctx))
	defer abortReading()
	readerDone := make(chan struct{})
	var readerErr error
	go func() { defer close(readerDone); readerErr = s.reader.run(reading) }()
	settling, stopSettling := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSettling()
	settlerDone := make(chan struct{})
	go func() { defer close(settlerDone); s.settler.run(settling) }()

	stopSampling := s.sampler.start(ctx)
	defer stopSampling()

	err := s.loop(ctx, readerDone, drains)
	if err == nil {
		select {
		case <-readerDone:
			err = cmp.Or(readerErr, errLease)
		default:
		}
	}

	// After a lost claim, and after a drain that took too long, what was acknowledged is still settled:
	// each such row would otherwise be a duplicate.
	s.closing = true
	closed := make(chan struct{})
	go func() { defer close(closed); s.stream.Close() }()
	deadline := time.NewTimer(s.config.DrainTimeout)
	defer deadline.Stop()
	for open := true; open; {
		select {
		case <-closed:
			open = false
		case <-s.reports.Ready:
			_ = s.judge() // the session is ending already
		case <-deadline.C:
			open = false
		}
	}
	_ = s.judge() // the session is ending already
	if !s.settler.flush(s.config.DrainTimeout) && err == nil {
		err = errors.New("forwarder: rows that the broker acknowledged could not be settled in time: they will be sent once more")
	}
	stopSettling()
	<-settlerDone
	_ = s.judge() // the session is ending already
	s.settled()
	// A statement is not cut off, since that would cost the connection and with it a clean release.
	s.reader.quit()
	select {
	case <-readerDone:
	case <-time.After(s.config.Lease):
		abortReading()
		<-readerDone
	}
	if s.claim.Valid() {
		s.markLowWater()
	}
	for _, d := range s.drains {
		d.end(errors.Join(errStopped, err))
	}
	return err
}

// markLowWater leaves the next owner as little to read again as possible.
func (s *session) markLowWater() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.claim.Mark(ctx, s.lowWater()); err != nil {
		s.log.Warn("could not store the low-water mark; the next owner reads some settled rows again", "error", err)
	}
}

func (s *session) loop(ctx context.Context, readerDone <-chan struct{}, drains <-chan *drain) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	housekeeping := time.NewTicker(time.Second / 4)
	defer housekeeping.Stop()
	var giveUp <-chan time.Time
	stop := ctx.Done()
	s.advance()
	for {
		if stop == nil && s.flying == 0 {
			return nil
		}
		timer.Reset(s.alarms.wait(time.Now()))
		var err error
		select {
		case f := <-s.reader.out:
			s.found(f)
		case <-s.reports.Ready:
			err = s.judge()
		case <-s.settler.done.Ready:
			s.settled()
		case <-timer.C:
			s.ring(time.Now())
		case d := <-drains:
			s.drains = append(s.drains, d)
			d.number = s.reader.demand.Add(1)
			s.reader.nudge()
		case <-housekeeping.C:
			s.publishState()
		case <-stop:
			stop = nil
			s.reader.stopped.Store(true)
			expired := time.NewTimer(s.config.DrainTimeout)
			defer expired.Stop()
			giveUp = expired.C
		case <-giveUp:
			return errors.New("forwarder: what was on its way to the broker was not done within the drain timeout: some of it may be sent once more")
		case <-readerDone:
			return nil
		}
		if err != nil {
			return err
		}
		if stop != nil {
			s.pump()
		}
		s.advance()
	}
}

// advance sends what was placed, tells the reader how much room there is, and ends drains that are done.
func (s *session) advance() {
	if len(s.out) > 0 {
		s.stream.Send(s.out)
		s.out = nil
	}
	room := int64(s.config.Window - s.flying)
	if s.bytes >= s.config.WindowBytes {
		room = 0
	}
	s.reader.space.Store(s.config.WindowBytes - s.bytes)
	before := s.reader.room.Swap(room)
	if before <= 0 && room > 0 {
		s.reader.nudge()
	}
	s.drains = slices.DeleteFunc(s.drains, s.drained)
}

// found takes what the reader read.
func (s *session) found(f found) {
	s.frontier, s.last = f.frontier, f.last
	if f.asked != nil {
		s.fetched(f)
	} else if len(f.rows) > 0 {
		c := s.chunk(f.rows, f.read)
		for i := range f.rows {
			s.place(c, i, &f.rows[i])
		}
	}
	s.suspect(f.suspects)
	for _, d := range s.drains {
		if f.demand >= d.number && !d.read {
			d.read, d.upTo = true, s.lastChunk
		}
		if f.swept >= d.number {
			d.swept = true
		}
	}
}

func (s *session) chunk(rows []outbox.Row, read time.Time) *chunk {
	s.lastChunk++
	c := newChunk(s.lastChunk, rows, read)
	s.chunks[c.number] = c
	s.flying += len(rows)
	return c
}

// place sends a row on its way, or has it wait behind what holds its key or its topic back.
func (s *session) place(c *chunk, i int, row *outbox.Row) {
	t := s.topic(row.Topic)
	k := t.keyFor(row.Key)
	e := &c.entries[i]
	e.id, e.topic, e.key = row.ID, t, k
	switch {
	case k.held != nil:
		k.held.add(row.ID)
		s.finish(c, e)
	case t.pause != nil:
		s.hold(k, parked).add(row.ID)
		s.finish(c, e)
	case row.Wait > 0:
		if k.loose {
			k = s.alone(t)
		}
		s.hold(k, waiting).add(row.ID)
		s.wake(k, time.Now().Add(row.Wait))
		s.finish(c, e)
	default:
		s.send(c, i, row, k)
	}
}

// identify notes in an entry which row it is.
func (s *session) identify(e *entry, row *outbox.Row, k *keyState) {
	e.id, e.topic, e.key, e.eventID = row.ID, k.topic, k, row.EventID
	e.retries, e.maxRetries = int32(row.RetryCount), int32(row.MaxRetries) //nolint:gosec // The columns are int4.
	e.age = row.Age
	e.bytes = len(row.Payload) + len(row.Key) + len(row.Headers) + len(row.EventID)
	s.bytes += int64(e.bytes)
}

// headers returns a row's record headers: the event id as Watermill's message UUID, then the metadata.
func (s *session) headers(row *outbox.Row) ([]delivery.Header, error) {
	headers := append(s.blocks.room(), delivery.Header{Key: delivery.UUIDHeader, Value: s.blocks.bytes(row.EventID)})
	headers, err := s.names.decode(headers, row.Headers)
	return s.blocks.keep(headers), err
}

// send puts a row's record on its way.
func (s *session) send(c *chunk, i int, row *outbox.Row, k *keyState) {
	e := &c.entries[i]
	s.identify(e, row, k)
	headers, err := s.headers(row)
	c.records[i] = delivery.Record{
		Topic: k.topic.name, Value: row.Payload, Headers: headers, Fence: k.fence, Ref: c.ref(i),
	}
	if len(row.Key) > 0 {
		c.records[i].Key = row.Key
	}
	if err != nil {
		k.fence.Close()
		s.refused(c, e, err)
		return
	}
	k.flying++
	s.out = append(s.out, &c.records[i])
}

// finish ends an entry: its row is settled, dead, or waits by id.
func (s *session) finish(c *chunk, e *entry) {
	if e.done {
		return
	}
	e.done = true
	s.flying--
	s.bytes -= int64(e.bytes)
	c.open--
	if c.open == 0 {
		delete(s.chunks, c.number)
	}
}

// at returns the entry that a record's Ref names.
func (s *session) at(ref int64) (*chunk, *entry) {
	c := s.chunks[ref>>refBits]
	if c == nil {
		return nil, nil
	}
	return c, &c.entries[ref&(1<<refBits-1)]
}

// settled takes what the settler wrote to the table.
func (s *session) settled() {
	for _, r := range s.settler.done.Take() {
		switch {
		case r.counted != nil:
			r.counted()
		default:
			for _, ref := range r.refs {
				if c, e := s.at(ref); c != nil {
					s.finish(c, e)
				}
			}
		}
	}
}

// lowWater is the id below which nothing is left to do but for what a sweep finds.
func (s *session) lowWater() int64 {
	s.held.next = time.Time{}
	s.countHeld(time.Now())
	return s.lowWaterOver(s.held.oldest)
}

// lowWaterOver is lowWater with that oldest row held back, 0 for none.
func (s *session) lowWaterOver(held int64) int64 {
	low := s.frontier
	if held > 0 {
		low = min(low, held-1)
	}
	for _, c := range s.chunks {
		low = min(low, c.first-1)
	}
	return low
}

// alarm is a time at which a hold or a paused topic wants attention.
type alarm struct {
	at    time.Time
	key   *keyState
	topic *topicState
}

type alarms []alarm

func (a alarms) Len() int           { return len(a) }
func (a alarms) Less(i, j int) bool { return a[i].at.Before(a[j].at) }
func (a alarms) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *alarms) Push(x any)        { *a = append(*a, x.(alarm)) }
func (a *alarms) Pop() any {
	last := len(*a) - 1
	x := (*a)[last]
	(*a)[last] = alarm{} // Its key is not to be kept by it.
	*a = (*a)[:last]
	return x
}

func (a alarms) wait(now time.Time) time.Duration {
	if len(a) == 0 {
		return time.Hour
	}
	return max(0, a[0].at.Sub(now))
}

// ring attends to what is due.
func (s *session) ring(now time.Time) {
	for len(s.alarms) > 0 && !s.alarms[0].at.After(now) {
		due := heap.Pop(&s.alarms).(alarm)
		if due.key != nil {
			s.ready(due.key, now)
		} else {
			s.probeTopic(due.topic, now)
		}
	}
}
