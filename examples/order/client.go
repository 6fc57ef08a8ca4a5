package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tailrace-go/tailrace/bus/request"
	"github.com/tailrace-go/tailrace/examples/order/orders"
)

// client is a customer's: its requests carry the correlation id that the context has.
type client struct {
	http http.Client
	url  string
}

func (a *app) client() *client {
	return &client{http: http.Client{Transport: &request.Transport{}}, url: a.url()}
}

// place places an order, and returns the answer's status.
func (c *client) place(ctx context.Context, order orders.NewOrder) (int, error) {
	body, err := json.Marshal(order)
	if err != nil {
		return 0, err
	}
	status, _, err := c.do(ctx, http.MethodPut, "/orders/"+order.ID, order.Customer, body)
	return status, err
}

// confirmed waits until the order is confirmed.
func (c *client) confirmed(ctx context.Context, id string) (order orders.Order, err error) {
	return order, eventually(ctx, func() (bool, error) {
		_, body, err := c.do(ctx, http.MethodGet, "/orders/"+id, "", nil)
		if err != nil {
			return false, err
		}
		return json.Unmarshal(body, &order) == nil && order.Status == "confirmed", nil
	})
}

// metric waits until a metric has at least the value.
func (c *client) metric(ctx context.Context, name string, least float64) error {
	return eventually(ctx, func() (bool, error) {
		_, body, err := c.do(ctx, http.MethodGet, "/metrics", "", nil)
		for line := range strings.Lines(string(body)) {
			if text, found := strings.CutPrefix(line, name+" "); found {
				value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
				return value >= least, err
			}
		}
		return false, err
	})
}

func (c *client) do(ctx context.Context, method, path, user string, body []byte) (int, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("X-User", user)
	response, err := c.http.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}

// eventually asks again until the answer is yes, an error, or late.
func eventually(ctx context.Context, ask func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("not within 30s"))
	defer cancel()
	for tick := time.Tick(20 * time.Millisecond); ; {
		if yes, err := ask(); yes || err != nil {
			return err
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
