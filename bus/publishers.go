package bus

import (
	"context"

	"github.com/tailrace-go/tailrace/envelopes"
)

// Publisher publishes one kind of event; it is all that a component needs which publishes no other.
type Publisher[E envelopes.Event] struct{ bus *Bus }

type (
	// AuditPublisher publishes audit events.
	AuditPublisher = Publisher[envelopes.Audit]
	// NotificationPublisher publishes notifications.
	NotificationPublisher = Publisher[envelopes.Notification]
	// DomainPublisher publishes domain events.
	DomainPublisher = Publisher[envelopes.Domain]
)

// NewAuditPublisher makes a publisher of audit events alone. The configuration is that of [New].
func NewAuditPublisher(config Config) (*AuditPublisher, error) {
	return newPublisher[envelopes.Audit](config)
}

// NewNotificationPublisher makes a publisher of notifications alone. The configuration is that of [New].
func NewNotificationPublisher(config Config) (*NotificationPublisher, error) {
	return newPublisher[envelopes.Notification](config)
}

// NewDomainPublisher makes a publisher of domain events alone. The configuration is that of [New].
func NewDomainPublisher(config Config) (*DomainPublisher, error) {
	return newPublisher[envelopes.Domain](config)
}

// Audit returns the Bus's publisher of audit events.
func (b *Bus) Audit() *AuditPublisher { return &AuditPublisher{b} }

// Notifications returns the Bus's publisher of notifications.
func (b *Bus) Notifications() *NotificationPublisher { return &NotificationPublisher{b} }

// Domain returns the Bus's publisher of domain events.
func (b *Bus) Domain() *DomainPublisher { return &DomainPublisher{b} }

func newPublisher[E envelopes.Event](config Config) (*Publisher[E], error) {
	b, err := New(config)
	if err != nil {
		return nil, err
	}
	return &Publisher[E]{b}, nil
}

// Publish publishes the event and returns its id; see [Bus.PublishAudit] for the errors.
func (p *Publisher[E]) Publish(ctx context.Context, event E) (string, error) {
	return p.bus.publishOne(ctx, event)
}

// PublishAll publishes the events, in order, and returns their ids; see [Bus.PublishAll].
func (p *Publisher[E]) PublishAll(ctx context.Context, events ...E) ([]string, error) {
	all := make([]envelopes.Event, len(events))
	for i, event := range events {
		all[i] = event
	}
	return p.bus.PublishAll(ctx, all...)
}

// InTx returns the same publisher over the transaction; see [Bus.InTx].
func (p *Publisher[E]) InTx(tx Tx) *Publisher[E] {
	return &Publisher[E]{p.bus.InTx(tx)}
}
