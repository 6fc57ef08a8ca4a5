package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tailrace-go/tailrace/topics"
)

type topicOf = func(topics.Naming, string) (string, error)

func (s *service) url(path string) string { return "http://" + s.listener.Addr().String() + path }

// register is a user's request.
func (s *service) register(ctx context.Context, name string) error {
	return s.ask(ctx, http.MethodPost, "/users?name="+url.QueryEscape(name), func(io.Reader) error { return nil })
}

// patience bounds the wait for an event to come through.
const patience = time.Minute

// awaitGreeted waits for n more events to reach the second consumer.
func (s *service) awaitGreeted(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for range n {
		select {
		case <-s.greeted:
		case <-ctx.Done():
			return fmt.Errorf("an event did not come through: %w", ctx.Err())
		}
	}
	return nil
}

// flush waits until all spans of the first request have ended, two of the forwarder's and two of the
// consumers': a consumer's ends after its handler, and the forwarder may hear of an event's arrival later than
// its consumer.
func (s *service) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ended := 0; ended < 4; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the spans did not end: %w", ctx.Err())
		}
		ended = 0
		for _, span := range s.spans.GetSpans() {
			if strings.HasPrefix(span.Name, "process ") || strings.HasPrefix(span.Name, "send ") {
				ended++
			}
		}
	}
	return nil
}

// printMetrics prints tailrace's metrics, without the buckets of histograms.
func (s *service) printMetrics(ctx context.Context, out io.Writer) error {
	return s.ask(ctx, http.MethodGet, "/metrics", func(body io.Reader) error {
		lines := bufio.NewScanner(body)
		for lines.Scan() {
			if line := lines.Text(); strings.HasPrefix(line, "tailrace_") && !strings.Contains(line, "_bucket{") {
				fmt.Fprintln(out, line)
			}
		}
		return lines.Err()
	})
}

// goOn has users register, ten a second, until ctx ends.
func (s *service) goOn(ctx context.Context) error {
	tick := time.NewTicker(time.Second / 10)
	defer tick.Stop()
	for n := users; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.spans.Reset() // nobody prints them
			if err := s.register(ctx, fmt.Sprintf("user-%d", n)); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

func (s *service) ask(ctx context.Context, method, path string, read func(io.Reader) error) error {
	request, err := http.NewRequestWithContext(ctx, method, s.url(path), http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s", method, path, response.Status)
	}
	return read(response.Body)
}
