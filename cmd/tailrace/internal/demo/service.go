package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/topics"
)

const serviceName = "user-service"

// The domain events of the service, each defined once for those who publish and those who handle it.
type (
	user struct {
		Email string `json:"email"`
		Role  string `json:"role"`
	}
	emailChange struct {
		Email string `json:"email"`
	}
)

var (
	userCreated  = bus.Define[user]("user", "user_created")
	emailChanged = bus.Define[emailChange]("user", "email_changed")
)

// names are the topics of the demonstration.
type names struct{ audit, notification, created, changed, deadLetters string }

func nameTopics(naming topics.Naming) (n names, err error) {
	var faults [5]error
	n.audit, faults[0] = naming.Audit()
	n.notification, faults[1] = naming.Notification()
	n.created, faults[2] = userCreated.Topic(naming, serviceName)
	n.changed, faults[3] = emailChanged.Topic(naming, serviceName)
	n.deadLetters, faults[4] = naming.DeadLetter()
	return n, errors.Join(faults[:]...)
}

// service registers users and changes their e-mail addresses, each in a transaction that publishes what
// happened.
type service struct {
	db     *sql.DB
	bus    *bus.Bus
	names  names
	ledger *Ledger
}

// errRefused is why some registrations are rolled back.
var errRefused = errors.New("the payment was refused")

// work registers n users and changes the address of each twice; every tenth registration comes after one
// that is refused. Users are worked on at the same time, but each by one worker.
func (s *service) work(ctx context.Context, n int) (refused int, err error) {
	const workers = 8
	var running sync.WaitGroup
	var mu sync.Mutex
	var faults []error
	for worker := range workers {
		running.Go(func() {
			for i := worker; i < n; i += workers {
				again, err := s.live(ctx, userID(i), i%10 == 0)
				mu.Lock()
				refused += again
				if err != nil {
					faults = append(faults, err)
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	running.Wait()
	return refused, errors.Join(faults...)
}

func userID(i int) string { return fmt.Sprintf("user-%03d", i) }

// live is what happens to one user.
func (s *service) live(ctx context.Context, id string, refuse bool) (refused int, err error) {
	ctx = bus.WithMetadata(ctx, bus.Metadata{CorrelationID: "signup-" + id})
	if refuse {
		if err := s.register(ctx, id, errRefused); !errors.Is(err, errRefused) {
			return 0, fmt.Errorf("demo: a registration that should be refused: %w", err)
		}
		refused = 1
	}
	if err := s.register(ctx, id, nil); err != nil {
		return refused, err
	}
	for i := range 2 {
		if err := s.changeEmail(ctx, id, fmt.Sprintf("%s.%d@example.com", id, i)); err != nil {
			return refused, err
		}
	}
	return refused, nil
}

// register makes a user and publishes three events about it. With a refusal, all of that is undone.
func (s *service) register(ctx context.Context, id string, refusal error) error {
	email := id + "@example.com"
	return s.transact(ctx, func(ctx context.Context, tx *sql.Tx) ([]envelopes.Event, error) {
		_, err := tx.ExecContext(ctx, `INSERT INTO users (id, email) VALUES ($1, $2)`, id, email)
		return []envelopes.Event{
			envelopes.Audit{
				EventType: envelopes.DataCreated, Action: "create_user", ResourceType: "user", ResourceID: id,
				OperationDetails: map[string]string{"email": email},
			},
			envelopes.Notification{
				EventType: envelopes.UserWelcome, RecipientType: envelopes.RecipientUser, RecipientIDs: []string{id},
				Subject: "Welcome!", Message: "Your account is there.",
			},
			userCreated.New(id, user{Email: email, Role: "customer"}),
		}, err
	}, refusal)
}

func (s *service) changeEmail(ctx context.Context, id, email string) error {
	return s.transact(ctx, func(ctx context.Context, tx *sql.Tx) ([]envelopes.Event, error) {
		// The row's lock comes first: it puts the events of one user in the order of their transactions.
		_, err := tx.ExecContext(ctx, `UPDATE users SET email = $2 WHERE id = $1`, id, email)
		return []envelopes.Event{
			envelopes.Audit{EventType: envelopes.DataUpdated, Action: "change_email", ResourceType: "user", ResourceID: id},
			emailChanged.New(id, emailChange{Email: email}),
		}, err
	}, nil)
}

// transact does the work and publishes its events in one transaction, and tells the ledger.
func (s *service) transact(ctx context.Context, do func(context.Context, *sql.Tx) ([]envelopes.Event, error), refusal error) error {
	var published []Event
	err := s.bus.Transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		events, err := do(ctx, tx)
		if err != nil {
			return err
		}
		ids, err := s.bus.PublishAll(ctx, events...)
		if err != nil || refusal != nil {
			return errors.Join(err, refusal)
		}
		for i, id := range ids {
			published = append(published, Event{Topic: s.topic(events[i]), Key: envelopes.RecordKey(events[i]), ID: id})
		}
		s.ledger.Committing(published...)
		return nil
	})
	if err == nil {
		s.ledger.Published(published...)
	}
	return err
}

func (s *service) topic(event envelopes.Event) string {
	switch e := event.(type) {
	case envelopes.Audit:
		return s.names.audit
	case envelopes.Notification:
		return s.names.notification
	case envelopes.Domain:
		if e.EventType == userCreated.EventType() {
			return s.names.created
		}
	}
	return s.names.changed
}

// timed is a sender that tells the ledger when Kafka has acknowledged an event.
type timed struct {
	delivery.Sender

	ledger *Ledger
}

// Stream implements [delivery.Sender].
func (t timed) Stream(config delivery.StreamConfig) delivery.Stream {
	report := config.Report
	config.Report = func(records []*delivery.Record, verdict delivery.Verdict) {
		if verdict.Fault == delivery.Delivered {
			for _, record := range records {
				t.ledger.Acknowledged(headerOf(record, delivery.UUIDHeader))
			}
		}
		report(records, verdict)
	}
	return t.Sender.Stream(config)
}

func headerOf(record *delivery.Record, name string) string {
	for _, header := range record.Headers {
		if header.Key == name {
			return string(header.Value)
		}
	}
	return ""
}
