package bustest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/tailrace-go/tailrace/internal/embedded/apache"
	"github.com/tailrace-go/tailrace/internal/embedded/kafka"
)

// idleNodes are the running nodes of Apache Kafka that no test uses. A node takes seconds to start and
// 400 MB, so it is emptied and used again.
var idleNodes struct {
	sync.Mutex
	nodes []*apache.Cluster
}

func apacheBroker(t testing.TB, cfg kafka.Config) *Broker {
	t.Helper()
	// Nodes with settings of their own are not shared.
	shared := cfg.TLS == nil && len(cfg.Users) == 0 && !cfg.AutoCreate
	var node *apache.Cluster
	if shared {
		node = takeNode()
	}
	if node == nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		var err error
		if node, err = apache.Start(ctx, cfg); err != nil {
			t.Fatalf("bustest: %v", err)
		}
	}
	t.Cleanup(func() {
		if !shared {
			node.Stop()
			return
		}
		if err := emptyNode(node); err != nil {
			t.Logf("bustest: a node is given up: %v", err)
			node.Stop()
			return
		}
		idleNodes.Lock()
		defer idleNodes.Unlock()
		idleNodes.nodes = append(idleNodes.nodes, node)
	})
	return newBroker(t, node)
}

func takeNode() *apache.Cluster {
	idleNodes.Lock()
	defer idleNodes.Unlock()
	if len(idleNodes.nodes) == 0 {
		return nil
	}
	last := len(idleNodes.nodes) - 1
	node := idleNodes.nodes[last]
	idleNodes.nodes = idleNodes.nodes[:last]
	return node
}

// emptyNode ends a node's faults and deletes its topics and groups.
func emptyNode(node *apache.Cluster) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	node.Gate().Reset()
	if err := node.Open(ctx); err != nil {
		return err
	}
	client, err := node.Client(freshMetadata)
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	if err := until(ctx, func() error { return deleteTopics(ctx, admin) }); err != nil {
		return fmt.Errorf("delete topics: %w", err)
	}
	groups, err := admin.ListGroups(ctx)
	if err != nil {
		return fmt.Errorf("list groups: %w", err)
	}
	if names := groups.Groups(); len(names) > 0 {
		if _, err := admin.DeleteGroups(ctx, names...); err != nil {
			return fmt.Errorf("delete groups: %w", err)
		}
	}
	return nil
}

// deleteTopics asks for the topics to be deleted and returns nil once there are none.
func deleteTopics(ctx context.Context, admin *kadm.Client) error {
	topics, err := admin.ListTopics(ctx)
	if err != nil || len(topics) == 0 {
		return err
	}
	if _, err := admin.DeleteTopics(ctx, topics.Names()...); err != nil {
		return err
	}
	return fmt.Errorf("%d are left", len(topics))
}
