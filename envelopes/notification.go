package envelopes

import (
	"strconv"
	"time"
)

// Notification asks for someone to be told something.
type Notification struct {
	Metadata Metadata
	// EventType is one of the constants or the application's own. Required.
	EventType NotificationType
	// RecipientType is user, admin or system. Required.
	RecipientType RecipientType
	// RecipientIDs are who exactly. With exactly one, it is the record key; else the event id is.
	RecipientIDs []string
	Subject      string
	// Message is the text. Required unless MessageTemplate is set.
	Message string
	// MessageTemplate names a template that makes the text from TemplateVariables.
	MessageTemplate string
	// TemplateVariables is any value that encodes as a JSON object. Default: {}.
	TemplateVariables any
	// Channels defaults to email.
	Channels []Channel
	// DeliveryTime is the earliest, ExpiryTime the latest time to deliver. Zero: at once, and never.
	DeliveryTime time.Time
	ExpiryTime   time.Time
	// ActionURL and ActionLabel are a link to offer.
	ActionURL   string
	ActionLabel string
	// Attachments are any values. Default: [].
	Attachments []any
}

// Meta returns the metadata as set.
func (n Notification) Meta() Metadata { return n.Metadata }

// Describe implements [Event].
func (n Notification) Describe() Description {
	d := Description{Kind: KindNotification, EventType: string(n.EventType), Priority: PriorityHigh}
	if len(n.RecipientIDs) == 1 && n.RecipientIDs[0] != "" {
		d.Key = n.RecipientIDs[0]
	} else {
		d.KeyIsEventID = true
	}
	return d
}

func (n Notification) encode(e *encoder) {
	e.raw(`{"event_type":`)
	e.required("event_type", string(n.EventType))
	e.printable("event_type", string(n.EventType))
	e.str(string(n.EventType))
	e.raw(`,"recipient_type":`)
	switch n.RecipientType {
	case RecipientUser, RecipientAdmin, RecipientSystem:
	default:
		e.fault("payload.recipient_type", "is not one of user, admin, system")
	}
	e.str(string(n.RecipientType))
	e.raw(`,"recipient_ids":`)
	for i, id := range n.RecipientIDs {
		if id == "" {
			e.fault("payload.recipient_ids["+strconv.Itoa(i)+"]", "is empty")
		}
	}
	appendStrings(e, n.RecipientIDs)
	e.raw(`,"subject":`)
	e.nullable(n.Subject)
	e.raw(`,"message":`)
	if n.Message == "" && n.MessageTemplate == "" {
		e.fault("payload.message", "is missing: set it, or message_template")
	}
	e.nullable(n.Message)
	e.raw(`,"message_template":`)
	e.nullable(n.MessageTemplate)
	e.raw(`,"template_variables":`)
	e.object("payload.template_variables", n.TemplateVariables)
	e.raw(`,"channels":`)
	if len(n.Channels) == 0 {
		e.raw(`["email"]`)
	} else {
		for i, channel := range n.Channels {
			switch channel {
			case ChannelEmail, ChannelSMS, ChannelPush, ChannelWebhook:
			default:
				e.fault("payload.channels["+strconv.Itoa(i)+"]", "is not one of email, sms, push, webhook")
			}
		}
		appendStrings(e, n.Channels)
	}
	e.raw(`,"delivery_time":`)
	e.time("payload.delivery_time", n.DeliveryTime)
	e.raw(`,"expiry_time":`)
	e.time("payload.expiry_time", n.ExpiryTime)
	e.raw(`,"action_url":`)
	e.nullable(n.ActionURL)
	e.raw(`,"action_label":`)
	e.nullable(n.ActionLabel)
	e.raw(`,"attachments":[`)
	for i, attachment := range n.Attachments {
		if i > 0 {
			e.raw(`,`)
		}
		e.value("payload.attachments["+strconv.Itoa(i)+"]", attachment)
	}
	e.raw(`]}`)
}

// Notification returns the envelope as a notification. Its values of any type are json.RawMessage. The
// error wraps [ErrInvalid] and lists every field that is missing or of the wrong type.
func (e Envelope) Notification() (Notification, error) {
	o, err := e.payload()
	if err != nil {
		return Notification{}, err
	}
	notification := Notification{
		Metadata:          e.Metadata,
		EventType:         NotificationType(e.EventType),
		RecipientType:     RecipientType(o.required("recipient_type")),
		RecipientIDs:      objectStrings[string](o, "recipient_ids"),
		Subject:           o.str("subject"),
		Message:           o.str("message"),
		MessageTemplate:   o.str("message_template"),
		TemplateVariables: o.object("template_variables"),
		Channels:          objectStrings[Channel](o, "channels"),
		DeliveryTime:      o.time("delivery_time"),
		ExpiryTime:        o.time("expiry_time"),
		ActionURL:         o.str("action_url"),
		ActionLabel:       o.str("action_label"),
		Attachments:       o.values("attachments"),
	}
	o.str("event_type")
	if notification.Channels == nil {
		notification.Channels = []Channel{ChannelEmail}
	}
	return orInvalid(notification, o)
}
