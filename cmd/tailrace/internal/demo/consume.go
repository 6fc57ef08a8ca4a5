package demo

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/topics"
)

// The two users that consumers have trouble with.
var (
	flakyUser  = userID(7)
	poisonUser = userID(13)
)

// consumers handle every event in a Watermill router.
type consumers struct {
	config kafka.Config
	naming topics.Naming
	names  names
	ledger *Ledger
	logger *slog.Logger

	mu       sync.Mutex
	attempts int    // at the flaky user's welcome
	reason   string // of the dead letter
}

// router returns a router with all handlers inside the chain. Dead letters are published by letters.
func (c *consumers) router(letters message.Publisher) (*message.Router, error) {
	logger := watermill.NewSlogLogger(c.logger)
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: 10 * time.Second}, logger)
	if err != nil {
		return nil, err
	}
	router.AddPlugin(consumer.Plugin(consumer.Config{
		DeadLetter: consumer.DeadLetterConfig{Publisher: letters, Naming: c.naming},
		Retry:      consumer.RetryConfig{MaxRetries: 3, InitialInterval: 50 * time.Millisecond},
	}))
	for _, handler := range []struct {
		name, topic string
		handle      message.NoPublishHandlerFunc
	}{
		{"audit-log", c.names.audit, consumer.Audit(c.audit)},
		{"mailer", c.names.notification, consumer.Notification(c.notify)},
		{"crm", c.names.created, consumer.Handle(userCreated, c.created)},
		{"address-book", c.names.changed, consumer.Handle(emailChanged, c.changed)},
		{"dead-letter-desk", c.names.deadLetters, c.deadLetter},
	} {
		subscriber, err := kafka.NewSubscriber(kafka.SubscriberConfig{Config: c.config, ConsumerGroup: handler.name}, logger)
		if err != nil {
			return nil, err
		}
		consumer.Add(router, handler.name, subscriber, handler.topic, handler.handle)
	}
	return router, nil
}

func (c *consumers) audit(_ context.Context, event envelopes.Audit, meta consumer.Meta) error {
	return c.done(event.ResourceID, meta)
}

// notify fails for one user until the third attempt, as a mail server in trouble does.
func (c *consumers) notify(_ context.Context, event envelopes.Notification, meta consumer.Meta) error {
	user := event.RecipientIDs[0]
	if user == flakyUser {
		c.mu.Lock()
		c.attempts = meta.Attempt
		c.mu.Unlock()
		if meta.Attempt < 3 {
			return errors.New("the mail server is busy")
		}
	}
	return c.done(user, meta)
}

// created fails for one user for good.
func (c *consumers) created(_ context.Context, event consumer.Event[user]) error {
	if event.AggregateID == poisonUser {
		return errors.New("the CRM has no such customer type")
	}
	return c.done(event.AggregateID, event.Meta)
}

func (c *consumers) changed(_ context.Context, event consumer.Event[emailChange]) error {
	return c.done(event.AggregateID, event.Meta)
}

func (c *consumers) done(key string, meta consumer.Meta) error {
	c.ledger.Consumed(Event{Topic: meta.Origin.Topic, Key: key, ID: meta.Event.EventID})
	return nil
}

func (c *consumers) deadLetter(msg *message.Message) error {
	c.mu.Lock()
	c.reason = msg.Metadata.Get(deadletter.HeaderReason)
	c.mu.Unlock()
	c.ledger.SetAside(Event{Topic: msg.Metadata.Get(deadletter.HeaderTopic), Key: msg.Metadata.Get(deadletter.HeaderKey), ID: msg.UUID})
	return nil
}

// told returns what happened to the two users in trouble.
func (c *consumers) told() (attempts int, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.attempts, c.reason
}
