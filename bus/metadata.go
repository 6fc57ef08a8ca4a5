package bus

import (
	"cmp"
	"context"
	"maps"

	"github.com/tailrace-go/tailrace/envelopes"
)

// Metadata is what a request tells about every event it causes.
type Metadata struct {
	// CorrelationID is shared by everything one request caused.
	CorrelationID string
	// CausationID is the id of the event being handled.
	CausationID string
	UserID      string
	SessionID   string
	RequestID   string
	SourceIP    string
	UserAgent   string
	// CustomHeaders are the application's own, for the envelope's custom_headers.
	CustomHeaders map[string]string
}

type metadataKey struct{}

// WithMetadata returns a context whose events get this metadata where they do not set their own. It adds
// to what the context has: empty fields leave that as it is, CustomHeaders are merged by name.
func WithMetadata(ctx context.Context, m Metadata) context.Context {
	outer := MetadataFrom(ctx)
	return context.WithValue(ctx, metadataKey{}, Metadata{
		CorrelationID: cmp.Or(m.CorrelationID, outer.CorrelationID),
		CausationID:   cmp.Or(m.CausationID, outer.CausationID),
		UserID:        cmp.Or(m.UserID, outer.UserID),
		SessionID:     cmp.Or(m.SessionID, outer.SessionID),
		RequestID:     cmp.Or(m.RequestID, outer.RequestID),
		SourceIP:      cmp.Or(m.SourceIP, outer.SourceIP),
		UserAgent:     cmp.Or(m.UserAgent, outer.UserAgent),
		CustomHeaders: merged(m.CustomHeaders, outer.CustomHeaders),
	})
}

// MetadataFrom returns the context's metadata. Its CustomHeaders must not be changed.
func MetadataFrom(ctx context.Context) Metadata {
	m, _ := ctx.Value(metadataKey{}).(Metadata)
	return m
}

// complete fills in what the event's own metadata leaves empty.
func (m *Metadata) complete(own *envelopes.Metadata) {
	own.CorrelationID = cmp.Or(own.CorrelationID, m.CorrelationID)
	own.CausationID = cmp.Or(own.CausationID, m.CausationID)
	own.UserID = cmp.Or(own.UserID, m.UserID)
	own.SessionID = cmp.Or(own.SessionID, m.SessionID)
	own.RequestID = cmp.Or(own.RequestID, m.RequestID)
	own.SourceIP = cmp.Or(own.SourceIP, m.SourceIP)
	own.UserAgent = cmp.Or(own.UserAgent, m.UserAgent)
	own.CustomHeaders = merged(own.CustomHeaders, m.CustomHeaders)
}

// merged returns inner over outer, in a map of its own if it changes anything.
func merged(inner, outer map[string]string) map[string]string {
	switch {
	case len(inner) == 0:
		return outer
	case len(outer) == 0:
		return inner
	}
	all := maps.Clone(outer)
	maps.Copy(all, inner)
	return all
}
