// Package topics says what the topics of an installation are called, and refuses a name at the caller
// that Kafka would refuse at the broker.
//
// Every name is {prefix}.{name}, or the bare name when the prefix is empty:
//
//	audit          {prefix}.audit.events
//	notification   {prefix}.notification.events
//	domain         {prefix}.{service}.{aggregate}.{event type}, the last two in lower case
//	custom         {prefix}.{the caller's name}
//	dead letter    {prefix}.dead.letter.queue
package topics

import (
	"cmp"
	"errors"
	"strings"
)

const (
	// DefaultAudit is the name of the audit topic, before its prefix.
	DefaultAudit = "audit.events"
	// DefaultNotification is the name of the notification topic, before its prefix.
	DefaultNotification = "notification.events"
	// DefaultDeadLetter is the name of the dead-letter topic, before its prefix.
	DefaultDeadLetter = "dead.letter.queue"
)

// Naming makes topic names. Its zero value has no prefix and the default names. It is a plain value:
// copy it freely.
type Naming struct {
	// Prefix stands before every name, with a dot between. Default: none.
	Prefix string
	// AuditName is the audit topic's name. Default: audit.events.
	AuditName string
	// NotificationName is the notification topic's name. Default: notification.events.
	NotificationName string
	// DeadLetterName is the dead-letter topic's name. Default: dead.letter.queue.
	DeadLetterName string
}

// Validate reports everything that is wrong with the names as configured, joined.
func (n Naming) Validate() error {
	var faults []error
	if n.Prefix != "" {
		if err := checkPart("prefix", n.Prefix); err != nil {
			// The three names would all repeat it.
			return errors.Join(err, Naming{"", n.AuditName, n.NotificationName, n.DeadLetterName}.Validate())
		}
	}
	for _, name := range []func() (string, error){n.Audit, n.Notification, n.DeadLetter} {
		if _, err := name(); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// Audit returns the topic of audit events. An error is a [*NameError], here as in all methods.
func (n Naming) Audit() (string, error) {
	return n.join(part{"audit topic", cmp.Or(n.AuditName, DefaultAudit)})
}

// Notification returns the topic of notification events.
func (n Naming) Notification() (string, error) {
	return n.join(part{"notification topic", cmp.Or(n.NotificationName, DefaultNotification)})
}

// DeadLetter returns the topic that takes what could not be delivered or consumed.
func (n Naming) DeadLetter() (string, error) {
	return n.join(part{"dead-letter topic", cmp.Or(n.DeadLetterName, DefaultDeadLetter)})
}

// Domain returns the topic of one type of domain event. The aggregate and the event type are
// lower-cased, the service is kept as given. None may be empty. Several faults are joined.
func (n Naming) Domain(service, aggregate, eventType string) (string, error) {
	return n.join(part{"service", service}, part{"aggregate type", aggregate}, part{"event type", eventType})
}

// Custom returns the topic of the caller's own name.
func (n Naming) Custom(name string) (string, error) {
	return n.join(part{"topic", name})
}

type part struct{ what, value string }

func (n Naming) join(parts ...part) (string, error) {
	var room [4]part
	all := room[:0]
	if n.Prefix != "" {
		all = append(all, part{"prefix", n.Prefix})
	}
	all = append(all, parts...)

	var faults []error
	length := len(all) - 1
	for _, p := range all {
		if err := checkPart(p.what, p.value); err != nil {
			faults = append(faults, err)
		}
		length += len(p.value)
	}
	if len(faults) == 1 {
		return "", faults[0]
	}
	if len(faults) > 1 {
		return "", errors.Join(faults...)
	}
	if length > MaxLength {
		longest := all[0]
		for _, p := range all {
			if len(p.value) > len(longest.value) {
				longest = p
			}
		}
		return "", &NameError{Part: longest.what, Value: longest.value, reason: reasonLength, total: length}
	}
	if len(all) == 1 && (all[0].value == "." || all[0].value == "..") {
		return "", &NameError{Part: all[0].what, Value: all[0].value, reason: reasonDots}
	}

	var name strings.Builder
	name.Grow(length)
	for i, p := range all {
		if i > 0 {
			name.WriteByte('.')
		}
		if p.what == "aggregate type" || p.what == "event type" {
			p.value = strings.ToLower(p.value)
		}
		name.WriteString(p.value)
	}
	return name.String(), nil
}
