package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/examples/internal/stack"
)

func TestObservability(t *testing.T) {
	t.Parallel()
	servers, err := stack.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, servers.Close()) })
	var out strings.Builder
	exported := map[string]bool{}
	err = with(t.Context(), servers.Environment(), "127.0.0.1:0", func(ctx context.Context, s *service) error {
		err := show(ctx, s, &out, false)
		families, gathered := s.metrics.Gather()
		require.NoError(t, gathered)
		for _, family := range families {
			exported[family.GetName()] = true
		}
		return err
	})
	require.NoError(t, err)

	t.Run("the trace goes from the request to the last consumer", func(t *testing.T) {
		prefix, ok := servers.Environment()["EVENT_TOPIC_PREFIX"]
		if !ok {
			prefix = "marty"
		}
		created, greeted := prefix+".users.user.user_created", prefix+".users.user.user_greeted"
		var names []string
		tree, _, _ := strings.Cut(out.String(), "\n\n")
		for _, line := range strings.Split(tree, "\n")[1:] {
			name, _, _ := strings.Cut(line, "  (")
			if strings.HasPrefix(line, " ") {
				name, _, _ = strings.Cut(line, " (")
			}
			names = append(names, strings.TrimRight(name, " "))
		}
		require.Equal(t, []string{
			"POST /users",
			"  create " + created,
			"    send " + created,
			"    process " + created,
			"      create " + greeted,
			"        send " + greeted,
			"        process " + greeted,
		}, names)
		require.Contains(t, tree, "group=mailer")
		require.Contains(t, tree, "outcome=handled")
	})

	for _, file := range []string{"grafana-dashboard.json", "alerts.yaml"} {
		t.Run("every metric of "+file+" is exported", func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			if strings.HasSuffix(file, ".json") {
				require.True(t, json.Valid(text))
			}
			named := regexp.MustCompile(`tailrace_[a-z_]+`).FindAllString(string(text), -1)
			require.Greater(t, len(named), 5)
			for _, name := range named {
				require.True(t, exported[strings.TrimSuffix(name, "_bucket")], name)
			}
		})
	}

	t.Run("every metric is explained, and shown", func(t *testing.T) {
		require.Contains(t, exported, "tailrace_forwarder_members")
		dashboard, err := os.ReadFile("grafana-dashboard.json")
		require.NoError(t, err)
		page, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
		require.NoError(t, err)
		for name := range exported {
			if short, ours := strings.CutPrefix(name, "tailrace_"); ours {
				require.Contains(t, string(dashboard), name)
				short = strings.TrimPrefix(short, "forwarder_")
				require.Regexp(t, "`("+name+"|…"+short+")`", string(page))
			}
		}
	})

	t.Run("it prints the metrics", func(t *testing.T) {
		for _, line := range []string{
			`tailrace_forwarder_events_total{outbox="event_outbox",`,
			`outcome="handled",`,
			`tailrace_consumer_retries_total{handler="greet",`,
		} {
			require.Contains(t, out.String(), line)
		}
	})
}
