package labels_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/forwarder/internal/labels"
)

// TestTopicsNamedByDataShareOneLabel once there are 200 of them, so that metrics do not grow with them.
func TestTopicsNamedByDataShareOneLabel(t *testing.T) {
	t.Parallel()
	topics, values, firsts := labels.New(), map[string]bool{}, 0
	for range 2 {
		for i := range 5000 {
			label, first := topics.Label(fmt.Sprintf("tenant-%d", i))
			values[label] = true
			if first {
				firsts++
			}
		}
	}
	require.Len(t, values, 201)
	require.True(t, values["other"])
	require.Equal(t, 200, firsts)
}
