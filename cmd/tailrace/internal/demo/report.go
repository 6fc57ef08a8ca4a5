package demo

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// printer prints the steps, and the table at the end.
type printer struct{ io.Writer }

// stepf prints what was done, and how long it took.
func (p printer) stepf(began time.Time, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	_, _ = fmt.Fprintf(p, "  ✓ %s%s %6.2f s\n", text, strings.Repeat(" ", max(0, 84-utf8.RuneCountInString(text))), time.Since(began).Seconds())
}

// table prints the counts.
func (p printer) table(counts []Count) {
	widest := len("topic")
	for _, count := range counts {
		widest = max(widest, len(count.Topic))
	}
	line := func(topic string, cells ...any) {
		_, _ = fmt.Fprintf(p, "  %-*s %11v %11v %11v %11v\n", append([]any{widest, topic}, cells...)...)
	}
	_, _ = fmt.Fprintln(p)
	line("topic", "published", "forwarded", "consumed", "dead letter")
	var total Count
	for _, c := range counts {
		line(c.Topic, c.Published, c.Forwarded, c.Consumed, c.Dead)
		total.Published += c.Published
		total.Forwarded += c.Forwarded
		total.Consumed += c.Consumed
		total.Dead += c.Dead
		total.Lost += c.Lost
		total.Duplicated += c.Duplicated
		total.Reordered += c.Reordered
	}
	line("total", total.Published, total.Forwarded, total.Consumed, total.Dead)
	_, _ = fmt.Fprintf(p, "\n  lost %d   reordered within a key %d   duplicated %d\n", total.Lost, total.Reordered, total.Duplicated)
}

// latency prints the times from commit to Kafka.
func (p printer) latency(p50, p99 time.Duration) {
	milliseconds := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	_, _ = fmt.Fprintf(p, "  from commit to Kafka: p50 %.1f ms, p99 %.1f ms\n\n", milliseconds(p50), milliseconds(p99))
}
