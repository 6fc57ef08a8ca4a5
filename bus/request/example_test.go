package request_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/request"
)

type user struct {
	Email string `json:"email"`
}

var userCreated = bus.Define[user]("user", "user_created")

// Every event that a request causes says which request that was.
func ExampleNew() {
	recorder := bustest.NewRecorder() // stands for Kafka
	b, _ := bus.New(bus.Config{Service: "user-service", Publisher: recorder})
	about, err := request.New(request.Config{
		User: func(r *http.Request) string {
			name, _, _ := r.BasicAuth()
			return name
		},
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	handler := about(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = userCreated.Publish(r.Context(), b, "user-1", user{Email: "ada@example.com"})
	}))

	r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/users", nil)
	r.RemoteAddr = "10.0.0.2:41234" // the proxy
	r.Header.Set("X-Forwarded-For", "198.51.100.99, 203.0.113.7")
	r.Header.Set("X-Correlation-ID", "req-7f3a")
	r.SetBasicAuth("admin-1", "")
	response := httptest.NewRecorder()
	handler.ServeHTTP(response, r)

	metadata := recorder.Events()[0].Envelope.Metadata
	fmt.Println(metadata.CorrelationID, metadata.UserID, metadata.SourceIP)
	fmt.Println(response.Header().Get("X-Correlation-ID"))
	// Output:
	// req-7f3a admin-1 203.0.113.7
	// req-7f3a
}

func ExampleNew_mistakes() {
	_, err := request.New(request.Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}})
	fmt.Println(err)
	// Output:
	// request: invalid configuration: TrustedProxies[0] holds every address, so that anybody could claim any: name the proxies' own networks
}

// A call to another service tells it which request the call is for.
func ExampleTransport() {
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println("called for", r.Header.Get("X-Correlation-ID"))
	}))
	defer other.Close()

	client := &http.Client{Transport: &request.Transport{}}
	ctx := bus.WithMetadata(context.Background(), bus.Metadata{CorrelationID: "req-7f3a"})
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, other.URL, nil)
	response, err := client.Do(r)
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = response.Body.Close()
	// Output: called for req-7f3a
}
