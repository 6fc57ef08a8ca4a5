package consumer

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/topics"
)

// DeadLetterConfig says where the messages go that a handler cannot process. Publisher is required.
type DeadLetterConfig struct {
	// Publisher publishes the dead letters. It stays the caller's to close.
	Publisher message.Publisher
	// Naming gives the topic its name, Naming.DeadLetter(); by default dead.letter.queue, without prefix.
	Naming topics.Naming
	// Topic is the complete topic name, prefix included; default as Naming says.
	Topic string
	// Keep, if set, says of more errors than [Outage] that they are not the message's fault: where it
	// returns true the message is kept, and delivered again. It is not asked about errors that are decided
	// ([Permanent], [Drop], undecodable).
	Keep func(error) bool
	// PublishTimeout ends the context of the copy, for publishers that heed it; default 10 s.
	PublishTimeout time.Duration
	// Logger is told of each dead letter, with a panic's stack, and of copies that failed; nil logs
	// nothing.
	Logger watermill.LoggerAdapter

	// budget is the chain's.
	budget *budget
}

const defaultPublishTimeout = 10 * time.Second

// Validate returns every fault of the configuration, joined.
func (c DeadLetterConfig) Validate() error {
	var faults []error
	if c.Publisher == nil {
		faults = append(faults, errors.New("consumer: DeadLetter.Publisher is missing: give the publisher that dead letters are published with"))
	}
	if _, err := c.topic(); err != nil {
		faults = append(faults, fmt.Errorf("consumer: DeadLetter: %w", err))
	}
	if c.PublishTimeout < 0 {
		faults = append(faults, fmt.Errorf("consumer: DeadLetter.PublishTimeout is %s: must not be negative", c.PublishTimeout))
	}
	return errors.Join(faults...)
}

func (c DeadLetterConfig) topic() (string, error) {
	if c.Topic != "" {
		return c.Topic, topics.Check(c.Topic)
	}
	return c.Naming.DeadLetter()
}

// DeadLetter sends a copy of a message whose handling failed to the dead-letter topic, with the headers
// of package deadletter beside its own, and then lets the original be acked. What the failed handler
// produced is not published.
//
// A message whose error is [Drop] is acked without a copy.
//
// A message is kept (its error returned, so nacked and delivered again) when its context was cancelled,
// as at shutdown; when the error is a cancellation, an [Outage] or one that Keep knows; when publishing
// the copy failed; and when it came from the dead-letter topic itself.
//
// It belongs outermost, outside [Retry]. Watermill's own PoisonQueue writes its headers into the message
// itself, publishes the failed handler's messages, and does not say where the message stood.
func DeadLetter(config DeadLetterConfig) (message.HandlerMiddleware, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	topic, err := config.topic()
	if err != nil {
		return nil, err
	}
	if config.PublishTimeout == 0 {
		config.PublishTimeout = defaultPublishTimeout
	}
	if config.Logger == nil {
		config.Logger = watermill.NopLogger{}
	}
	d := &deadLetters{DeadLetterConfig: config, to: topic}
	return d.middleware, nil
}

type deadLetters struct {
	DeadLetterConfig

	to       string
	shortens sync.Once
}

func (d *deadLetters) middleware(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		ctx, record := withAttempts(msg.Context(), msg)
		record.budget = d.budgetFor(ctx)
		msg.SetContext(ctx)
		produced, err := next(msg)
		if err == nil {
			return produced, nil
		}
		if record.last.IsZero() { // used without Retry
			record.failed()
		}
		return nil, d.settle(ctx, msg, record, err)
	}
}

// budgetFor is the chain's budget, shortened where the message's group waits less.
func (d *deadLetters) budgetFor(ctx context.Context) *budget {
	origin, _ := delivery.OriginFrom(ctx)
	if d.budget == nil || origin.RebalanceTimeout <= 0 {
		return d.budget
	}
	shortened, changed := d.budget.within(origin.RebalanceTimeout)
	if !changed {
		return d.budget
	}
	d.shortens.Do(func() {
		d.Logger.Error("Retries and timeouts are shortened to stay below the group's rebalance timeout", nil, watermill.LogFields{
			"topic": origin.Topic, "rebalance_timeout": origin.RebalanceTimeout.String(), "needed": d.budget.sum().String(),
			"max_elapsed": shortened.elapsed.String(), "timeout": shortened.attempt.String(), "publish_timeout": shortened.publish.String(),
		})
	})
	return &shortened
}

// settle returns nil once the message may be acked. ctx is the message's own: the handler, or a
// middleware further in, may have left another behind.
func (d *deadLetters) settle(ctx context.Context, msg *message.Message, record *attempts, err error) error {
	decision := decide(err, nil)
	if decision == DecideRetry && d.Keep != nil && d.Keep(err) {
		decision = DecideKeep
	}
	switch {
	case isStopping(ctx):
		return stopped(ctx, err)
	case decision == DecideKeep:
		return err
	case decision == DecideDrop:
		record.note(Dropped, err)
		d.Logger.Info("Message dropped, as its handler decided", watermill.LogFields{
			"err": err.Error(), "message_uuid": msg.UUID, "attempts": record.number,
			"topic": message.SubscribeTopicFromCtx(ctx), "handler_name": message.HandlerNameFromCtx(ctx),
		})
		return nil
	case message.SubscribeTopicFromCtx(ctx) == d.to:
		return fmt.Errorf("consumer: kept, since the message comes from the dead-letter topic %s itself: %w", d.to, err)
	}
	fields := watermill.LogFields{
		"message_uuid": msg.UUID, "attempts": record.number,
		"topic": message.SubscribeTopicFromCtx(ctx), "handler_name": message.HandlerNameFromCtx(ctx),
		"dead_letter_topic": d.to,
	}
	if failure := d.publish(ctx, record, d.copy(ctx, msg, record, err)); failure != nil {
		fields["handler_err"] = err.Error()
		d.Logger.Error("Dead letter not published, message kept", failure, fields)
		return fmt.Errorf("consumer: dead letter not published to %s, the message is kept: %w (handler: %w)", d.to, failure, err)
	}
	if panicked := (*PanicError)(nil); errors.As(err, &panicked) {
		fields["stack"] = string(panicked.Stack)
	}
	d.Logger.Error("Message sent to the dead letters", err, fields)
	record.note(DeadLettered, err)
	return nil
}

func (d *deadLetters) publish(ctx context.Context, record *attempts, letter *message.Message) error {
	timeout := d.PublishTimeout
	if record.budget != nil {
		timeout = record.budget.publish
	}
	// A deadline that the message itself ran into must not end its copy too.
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	letter.SetContext(ctx)
	return d.Publisher.Publish(d.to, letter)
}

func (d *deadLetters) copy(ctx context.Context, msg *message.Message, record *attempts, err error) *message.Message {
	letter := msg.Copy()
	meta := letter.Metadata
	for _, name := range deadletter.Headers() { // those of an earlier death
		delete(meta, name)
	}
	set := func(name, value string) {
		if value != "" {
			meta[name] = value
		}
	}
	set(deadletter.HeaderSource, deadletter.SourceConsumer)
	set(deadletter.HeaderReason, deadletter.Reason(err))
	set(deadletter.HeaderHandler, message.HandlerNameFromCtx(ctx))
	set(deadletter.HeaderAttempts, strconv.Itoa(record.number))
	set(deadletter.HeaderFirstFailure, deadletter.Time(record.first))
	set(deadletter.HeaderLastFailure, deadletter.Time(record.last))
	set(deadletter.HeaderTopic, message.SubscribeTopicFromCtx(ctx))
	if origin, ok := delivery.OriginFrom(ctx); ok {
		set(deadletter.HeaderTopic, origin.Topic)
		set(deadletter.HeaderPartition, strconv.FormatInt(int64(origin.Partition), 10))
		set(deadletter.HeaderOffset, strconv.FormatInt(origin.Offset, 10))
		if origin.Key != nil {
			meta[delivery.KeyMetadata] = string(origin.Key)
		}
	}
	if key, ok := meta[delivery.KeyMetadata]; ok {
		meta[deadletter.HeaderKey] = key
	}
	return letter
}
