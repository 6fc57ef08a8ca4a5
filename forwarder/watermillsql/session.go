package watermillsql

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/forwarder/internal/mailbox"
	"github.com/tailrace-go/tailrace/forwarder/internal/sends"
	"github.com/tailrace-go/tailrace/internal/pglease"
)

var (
	errLease = errors.New("watermillsql: the lease is no longer certain: the process or the database stood still for longer than it lasts")
	errMoved = errors.New("watermillsql: another program moved the position")
)

// session is one ownership, from lock to release. Its state belongs to the goroutine that runs loop;
// reader, sender and recorder reach it through channels and mailboxes.
type session struct {
	config  *Config
	tables  tables
	metrics *metrics
	status  *status
	log     *slog.Logger

	lease    *pglease.Lease
	reader   *reader
	stream   delivery.Stream
	recorder *recorder
	reports  *mailbox.Mailbox[report]
	denied   atomic.Bool
	sends    sends.Sends

	topics   map[string]*topicState
	window   window
	recorded int64 // rows passed and recorded
	flying   int   // records on the wire, or queued for it
	waiting  int   // entries held back
	paused   int   // topics
	out      []*delivery.Record
	alarms   alarms
	graves   error // why the dead-letter topic takes no copies
	rival    error
	moved    bool // the position is somebody else's
	draining bool
	closing  bool
}

// report is a verdict as the sender gave it.
type report struct {
	records []*delivery.Record
	verdict delivery.Verdict
}

func newSession(ctx context.Context, f *Forwarder, lease *pglease.Lease, at position) (*session, error) {
	reader, err := newReader(ctx, &f.config, f.tables, lease, at)
	if err != nil {
		return nil, err
	}
	s := &session{
		config: &f.config, tables: f.tables, metrics: f.metrics, status: &f.status, log: f.config.Logger,
		lease: lease, reader: reader, recorder: newRecorder(&f.config, f.tables, &f.status, at),
		sends: sends.New(f.config.Tracer), reports: mailbox.New[report](), topics: map[string]*topicState{}, window: newWindow(at),
	}
	s.stream = f.config.Sender.Stream(delivery.StreamConfig{
		Permit: s.permit,
		Report: func(records []*delivery.Record, verdict delivery.Verdict) {
			s.reports.Put(report{records, verdict})
		},
		Unreachable: s.status.broker,
	})
	return s, nil
}

// run forwards until ctx ends, and then finishes what is on its way, or until the lease is lost or somebody
// else has moved the position.
func (s *session) run(ctx context.Context) error {
	reading, abortReading := context.WithCancel(context.WithoutCancel(ctx))
	defer abortReading()
	readerDone := make(chan struct{})
	var readerErr error
	go func() { defer close(readerDone); readerErr = s.reader.run(reading) }()
	recording, stopRecording := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRecording()
	recorderDone := make(chan struct{})
	go func() { defer close(recorderDone); s.recorder.run(recording) }()

	err := s.loop(ctx, readerDone)
	if err == nil {
		select {
		case <-readerDone:
			err = cmp.Or(readerErr, errLease)
		default:
		}
	}
	s.finish(recorderDone)
	if s.recorded < s.window.passed && !s.moved {
		err = errors.Join(err, fmt.Errorf("watermillsql: the position could not be recorded in time: %d messages will be delivered once more", s.window.passed-s.recorded))
	}
	stopRecording()
	<-recorderDone
	// A statement is not cut off, since that would cost the connection and with it a clean release.
	s.reader.quit()
	select {
	case <-readerDone:
	case <-time.After(s.config.Lease):
		abortReading()
		<-readerDone
	}
	if n := s.window.beyond(); n > 0 {
		s.log.Warn("messages behind the recorded position were delivered already; whoever goes on from there delivers them once more", "messages", n, "position", s.window.at)
	}
	return err
}

// finish closes the stream and has the position recorded up to what was delivered, also after a lost lease
// or a drain that took too long: each row that is not would be a duplicate.
func (s *session) finish(recorderDone <-chan struct{}) {
	s.closing = true
	closed := make(chan struct{})
	go func() { defer close(closed); s.stream.Close() }()
	deadline := time.NewTimer(s.config.DrainTimeout)
	defer deadline.Stop()
	for open := true; open || recorderDone != nil && s.recorded < s.window.passed; {
		select {
		case <-closed:
			open, closed = false, nil
		case <-s.reports.Ready:
		case <-s.recorder.results.Ready:
			_ = s.noted() // the session is ending already
		case <-recorderDone:
			recorderDone = nil // the position is somebody else's now
		case <-deadline.C:
			return
		}
		_ = s.judge() // the session is ending already
		s.pass()
	}
}

func (s *session) loop(ctx context.Context, readerDone <-chan struct{}) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	housekeeping := time.NewTicker(time.Second / 4)
	defer housekeeping.Stop()
	var giveUp <-chan time.Time
	stop := ctx.Done()
	s.advance()
	for {
		if s.draining && s.flying == 0 && !s.alarms.due(time.Now()) {
			return nil
		}
		timer.Reset(s.alarms.wait(time.Now()))
		var err error
		select {
		case c := <-s.reader.out:
			s.place(c)
		case <-s.reports.Ready:
			err = s.judge()
		case <-s.recorder.results.Ready:
			err = s.noted()
		case <-timer.C:
			s.ring(time.Now())
		case <-housekeeping.C:
			s.publishState()
		case <-stop:
			stop = nil
			s.reader.stopped.Store(true)
			s.drain()
			expired := time.NewTimer(s.config.DrainTimeout)
			defer expired.Stop()
			giveUp = expired.C
		case <-giveUp:
			return errors.New("watermillsql: what was on its way to the broker was not done within the drain timeout: some of it may be delivered once more")
		case <-readerDone:
			return nil
		}
		if err != nil {
			return err
		}
		s.advance()
	}
}

// drain has refused messages spend their attempts at once.
func (s *session) drain() {
	s.draining = true
	now := time.Now()
	for _, a := range s.alarms {
		if a.key != nil && a.key.phase == waiting && s.graves == nil {
			a.key.until = now
		}
	}
	for i := range s.alarms {
		s.alarms[i].at = now
	}
}

// advance sends what was placed and tells the reader how much room there is.
func (s *session) advance() {
	s.pass()
	if len(s.out) > 0 {
		s.stream.Send(s.out)
		s.out = nil
	}
	until := s.recorded + int64(s.config.Window)
	if until-s.window.read < int64(min(s.config.BatchSize, s.config.Window/2)) || s.blocked() != nil {
		until = s.window.read // rather a full read later than many small ones
	}
	s.reader.bytesUntil.Store(s.window.bytesDone + s.config.WindowBytes)
	s.reader.rowsUntil.Store(until)
	if until > s.window.read && s.reader.hungry.Swap(false) {
		s.reader.nudge()
	}
}

// pass has the position recorded if it moved.
func (s *session) pass() {
	if s.window.pass() {
		s.recorder.record(mark{s.window.at, s.window.passed})
	}
}

// noted takes what became of the position.
func (s *session) noted() (err error) {
	for _, r := range s.recorder.results.Take() {
		switch {
		case r.moved != nil:
			s.log.Warn("another program moved the position: what is on its way is dropped, and the work goes on from there; some of it is delivered twice. Is Watermill's forwarder running, too?",
				"table", s.tables.offsets, "consumer_group", s.tables.group, "was", s.recorder.at.String(), "is", r.moved.String())
			s.moved, err = true, errMoved
		case r.rival != nil:
			if s.rival == nil {
				s.log.Warn("waiting for the offsets row", "table", s.tables.offsets, "consumer_group", s.tables.group, "error", r.rival)
			}
			s.rival = r.rival
		default:
			s.rival = nil
			s.recorded = max(s.recorded, r.rows)
		}
	}
	return err
}
