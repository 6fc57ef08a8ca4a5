// Package request tells the events that a request causes about that request, and the requests that are made
// on its behalf.
//
//	about, err := request.New(request.Config{
//		User:           func(r *http.Request) string { return sessions.User(r) },
//		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
//	})
//	server := &http.Server{Handler: about(mux)}
//	client := &http.Client{Transport: &request.Transport{}}
//
// Every event that is published with the request's context has its correlation id, request id, user,
// session, source ip, user agent and trace (bus.WithMetadata); what handles that event publishes with the
// same ones, and so on from service to service. A request that the client makes with the context carries the
// correlation id and the trace.
//
// # What is believed
//
// Ids and addresses in a request are whatever its sender wrote. An id is taken when it has at most 128
// letters, digits and -._:/+=@~|;, and else made anew. The source ip is the connection's, unless that is
// one of TrustedProxies, and at any rate one that a trusted party saw. Config.Public takes no id at all.
//
// Package grpcmeta does the same for gRPC.
package request
