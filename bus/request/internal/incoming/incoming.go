// Package incoming turns what a request says of itself, over HTTP or gRPC, into the metadata of the events
// it causes. Everything in a request is its sender's to choose, so nothing is taken unchecked.
package incoming

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/envelopes"
)

// Rules say what is believed of a request.
type Rules struct {
	CorrelationHeader, RequestHeader string
	// Public believes no id and no trace.
	Public     bool
	Proxies    Proxies
	Propagator propagation.TextMapPropagator
}

// Call is one request.
type Call struct {
	// Values returns the values of a header, in the order sent.
	Values func(name string) []string
	// Carrier gives the same headers to OpenTelemetry.
	Carrier propagation.TextMapCarrier
	// Remote is the other end of the connection.
	Remote string
	// UserID and SessionID are what the application says of it.
	UserID, SessionID string
}

// Complete returns the rules with their defaults, and every fault, each with the name of its field.
func (r Rules) Complete() (Rules, []error) {
	r.CorrelationHeader = cmp.Or(r.CorrelationHeader, "X-Correlation-ID")
	r.RequestHeader = cmp.Or(r.RequestHeader, "X-Request-ID")
	if r.Propagator == nil {
		r.Propagator = propagation.TraceContext{}
	}
	// A caller that changes its slice later must not change who is trusted.
	r.Proxies.Trusted = slices.Clone(r.Proxies.Trusted)
	var faults []error
	for _, header := range []struct{ field, name string }{
		{"CorrelationHeader", r.CorrelationHeader}, {"RequestHeader", r.RequestHeader},
	} {
		if strings.Trim(strings.ToLower(header.name), "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
			faults = append(faults, fmt.Errorf("%s %q is no name of a header: use letters, digits and dashes", header.field, header.name))
		}
	}
	if strings.EqualFold(r.CorrelationHeader, r.RequestHeader) {
		faults = append(faults, fmt.Errorf("CorrelationHeader and RequestHeader are both %s: the two ids need a header each", r.RequestHeader))
	}
	for i, network := range r.Proxies.Trusted {
		if problem := problemOf(network); problem != "" {
			faults = append(faults, fmt.Errorf("TrustedProxies[%d] %s", i, problem))
		}
	}
	return r, faults
}

func problemOf(network netip.Prefix) string {
	switch {
	case !network.IsValid():
		return "is no network: make one with netip.MustParsePrefix"
	case network.Bits() == 0:
		return "holds every address, so that anybody could claim any: name the proxies' own networks"
	case network.Addr().Is4In6():
		return "is an IPv4 network written as IPv6: write it as IPv4"
	}
	return ""
}

// Context returns the context for the request's handling, and the metadata that it was given. What the
// context has already, of a middleware further out, stands.
func (r Rules) Context(ctx context.Context, call Call) (context.Context, bus.Metadata) {
	outer := bus.MetadataFrom(ctx)
	told := bus.Metadata{
		CorrelationID: cmp.Or(outer.CorrelationID, r.id(call, r.CorrelationHeader)),
		RequestID:     cmp.Or(outer.RequestID, r.id(call, r.RequestHeader)),
		UserID:        call.UserID,
		SessionID:     call.SessionID,
		SourceIP:      cmp.Or(outer.SourceIP, r.Proxies.Source(call.Remote, call.Values)),
	}
	if agents := call.Values("User-Agent"); len(agents) > 0 {
		told.UserAgent = Text(agents[0], MaxUserAgent)
	}
	if !r.Public && !trace.SpanContextFromContext(ctx).IsValid() {
		ctx = r.Propagator.Extract(ctx, call.Carrier)
	}
	return bus.WithMetadata(ctx, told), told
}

func (r Rules) id(call Call, header string) string {
	if !r.Public {
		for _, value := range call.Values(header) {
			if ID(value) {
				return value
			}
		}
	}
	return envelopes.NewID()
}
