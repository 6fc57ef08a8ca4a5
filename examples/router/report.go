package main

import (
	"errors"
	"fmt"
	"io"
)

// report prints what each handler handled, and says what is wrong.
func (s *service) report(out io.Writer, first, both map[string]int) error {
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format, args...) }
	line("\n  Events handled, by the handlers of a first and a second release:\n\n")
	line("    %-14s%-42s%5s%5s\n", "", "", "1st", "2nd")
	var faults []error
	for _, h := range []struct {
		name, what string
		want       int
	}{
		{"audit-log", "consumer.Audit", 3},
		{"crm", "consumer.Handle, a defined event", 3},
		{"search", "consumer.Domain, any domain event", 3},
		{"greeter", "returns a notification", 3},
		{"mailer", "consumer.Notification, the greeter's", 3},
		{"loyalty", "Watermill's cqrs.EventProcessor", 1},
		{"clicks", "consumer.Dispatch, the unknown skipped", 2},
		{"carts", "consumer.Dispatch, the unknown set aside", 3},
		{"dead-letters", "that one", 1},
		{"ledger", "consumer.Dispatch, the unknown kept", 4},
		{"archive", "stopped with a message in hand", 3},
	} {
		line("    %-14s%-42s%5d%5d\n", h.name, h.what, first[h.name], both[h.name]-first[h.name])
		if both[h.name] != h.want {
			faults = append(faults, fmt.Errorf("%s handled %d events, where %d were meant", h.name, both[h.name], h.want))
		}
	}
	line("\n  The ledger's unknown event and the archive's last one waited for the second release.\n\n")
	return errors.Join(faults...)
}
