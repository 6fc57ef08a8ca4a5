package outcome_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/internal/telemetry/outcome"
	"github.com/tailrace-go/tailrace/topics"
)

func TestOutcomes(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		err       error
		label     string
		errorType string
	}{
		"success":                {nil, "ok", ""},
		"an event":               {envelopes.Validate(envelopes.Audit{}), "invalid", "invalid"},
		"a topic":                {topics.Check("a b"), "invalid", "invalid"},
		"a row":                  {fmt.Errorf("x: %w", outbox.ErrMessage), "invalid", "invalid"},
		"there already":          {fmt.Errorf("x: %w", errors.Join(outbox.ErrDuplicate, &pq.Error{})), "duplicate", "duplicate"},
		"the transaction ended":  {sql.ErrTxDone, "error", "transaction_done"},
		"the context ended":      {fmt.Errorf("x: %w", context.Canceled), "canceled", "canceled"},
		"the deadline passed":    {context.DeadlineExceeded, "timeout", "deadline_exceeded"},
		"the server's error":     {fmt.Errorf("x: %w", &pq.Error{}), "error", "*pq.Error"},
		"one that says it":       {fmt.Errorf("x: %w", said{}), "error", "NOT_LEADER"},
		"one that says: invalid": {fmt.Errorf("x: %w", said{"invalid"}), "invalid", "invalid"},
		"a text":                 {errors.New("broken"), "error", "_OTHER"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.label, outcome.Of(c.err))
			require.Equal(t, c.errorType, outcome.ErrorType(c.err))
		})
	}
}

type said struct{ class string }

func (said) Error() string { return "x" }

func (s said) ErrorType() string {
	if s.class != "" {
		return s.class
	}
	return "NOT_LEADER"
}
