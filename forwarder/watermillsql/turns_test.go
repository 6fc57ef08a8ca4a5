package watermillsql_test

import (
	"sync/atomic"
	"testing"

	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/forwarder/watermillsql"
)

// TestTurns: Watermill's publisher writes, and Watermill's forwarder and ours take turns on its tables, each
// stopped cleanly.
func TestTurns(t *testing.T) {
	t.Parallel()
	jsonb := wsql.DefaultPostgreSQLSchema{GeneratePayloadType: func(string) string { return "JSONB" }}
	bytea := wsql.DefaultPostgreSQLSchema{GeneratePayloadType: func(string) string { return "BYTEA" }}
	for name, change := range map[string]func(*bundle){
		"defaults":            func(*bundle) {},
		"group, jsonb":        func(b *bundle) { b.group, b.schema = "The Group's", jsonb },
		"quoted names, bytea": func(b *bundle) { b.topic, b.schema = "Orders-to.forward:V1", bytea },
		"names of its own": func(b *bundle) {
			b.schema.GenerateMessagesTableName = func(topic string) string { return `"App Messages ` + topic + `"` }
			b.offsets.GenerateMessagesOffsetsTableName = func(topic string) string { return `"App Offsets ` + topic + `"` }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, change)
			b.broker.CreateTopic(t, orders, 3, nil)
			turns, each := 6, 200
			if long() {
				turns, each = 12, 500
			}
			middle := 0
			for turn := range turns {
				b.publish(each, 40, 4)
				if turn%2 == 1 {
					// Stopped in the middle of a batch it rolls back the position, and repeats the batch.
					w := b.watermill(1 << 30)
					b.waitPassed()
					w.stop()
				} else {
					b.stopInTheMiddle()
					middle += min(1, b.behind())
				}
				c := b.count(orders)
				require.Zero(t, c.twice, "turn %d: %v", turn, c)
				require.Equal(t, b.behind(), c.lost, "turn %d: the position tells what is not delivered", turn)
			}
			stop := b.run(b.forwarder())
			b.waitPassed()
			stop()
			c := b.count(orders)
			t.Log(c, "; stopped in the middle", middle, "times")
			require.Positive(t, middle, "ours was never stopped in the middle of its work")
			require.Equal(t, tally{sent: turns * each, delivered: turns * each}, c)
			w := b.watermill(1 << 30)
			require.NoError(t, b.inTx(orders, b.message("k0")))
			w.waitPublished(1)
			w.stop()
			require.Equal(t, tally{sent: turns*each + 1, delivered: turns*each + 1}, b.count(orders), "Watermill's forwarder has nothing else left to do")
		})
	}
}

// stopInTheMiddle runs ours until some requests have reached the broker, and stops it while one of them is
// not answered yet.
func (b *bundle) stopInTheMiddle() {
	var requests atomic.Int64
	arrived, proceed := make(chan struct{}), make(chan struct{})
	b.broker.FailProduce(func(string, int32) bustest.Action {
		switch n := requests.Add(1); {
		case n == 4:
			close(arrived)
			fallthrough
		case n > 4:
			<-proceed
		}
		return bustest.Pass
	})
	cancel, wait := b.start(b.forwarder(func(c *watermillsql.Config) { c.BatchSize, c.Window = 20, 50 }))
	<-arrived
	cancel()
	close(proceed)
	wait()
	b.broker.FailProduce(nil)
}
