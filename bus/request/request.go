package request

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"

	"go.opentelemetry.io/otel/propagation"

	"github.com/tailrace-go/tailrace/bus/request/internal/incoming"
)

// Config says what is read from a request. Its zero value is good for a service that its callers reach
// without a proxy.
type Config struct {
	// CorrelationHeader is the header with the correlation id. Default: X-Correlation-ID.
	CorrelationHeader string
	// RequestHeader is the header with the request id. Default: X-Request-ID.
	RequestHeader string
	// Public says that anybody may call: every request gets new ids, and its trace context is not taken.
	Public bool

	// User returns who makes the request, "" for nobody. It sees the request as this middleware does, so
	// put that inside of the authentication. What becomes known later goes by bus.WithMetadata. Default: none.
	User func(*http.Request) string
	// Session returns the session, "" for none. Its value is written into events, so it should not be what
	// opens the session. Default: none.
	Session func(*http.Request) string

	// TrustedProxies are the networks of one's own proxies, who say in X-Forwarded-For whom they were called
	// by. Default: none, so that the source ip is the connection's.
	TrustedProxies []netip.Prefix
	// Forwarded says that those proxies write Forwarded (RFC 7239) in place of X-Forwarded-For.
	Forwarded bool

	// Propagator reads the trace context, unless the context has a span already (of otelhttp, for instance).
	// Default: W3C trace context.
	Propagator propagation.TextMapPropagator
}

// ErrConfig is wrapped by every mistake in a [Config].
var ErrConfig = errors.New("request: invalid configuration")

// New checks the configuration, reporting all mistakes at once, and returns the middleware. It puts what the
// request says into its context, and the two ids into the response's headers before the handler runs. The
// handler gets the http.ResponseWriter itself, so that flushing, hijacking and all else work as before.
func New(config Config) (func(http.Handler) http.Handler, error) {
	rules, faults := incoming.Rules{
		CorrelationHeader: config.CorrelationHeader, RequestHeader: config.RequestHeader, Public: config.Public,
		Proxies:    incoming.Proxies{Trusted: config.TrustedProxies, Forwarded: config.Forwarded},
		Propagator: config.Propagator,
	}.Complete()
	if len(faults) > 0 {
		for i, fault := range faults {
			faults[i] = fmt.Errorf("%w: %w", ErrConfig, fault)
		}
		return nil, errors.Join(faults...)
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			call := incoming.Call{Values: r.Header.Values, Carrier: propagation.HeaderCarrier(r.Header), Remote: r.RemoteAddr}
			if config.User != nil {
				call.UserID = config.User(r)
			}
			if config.Session != nil {
				call.SessionID = config.Session(r)
			}
			ctx, told := rules.Context(r.Context(), call)
			w.Header().Set(rules.CorrelationHeader, told.CorrelationID)
			w.Header().Set(rules.RequestHeader, told.RequestID)
			next.ServeHTTP(w, r.WithContext(ctx))
		})
	}, nil
}
