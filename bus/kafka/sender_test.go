package kafka_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

func TestSmoke(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.SeedTopics(6, "orders"))
	require.NoError(t, err)
	defer c.Close()
	s, err := kafka.NewSender(kafka.SenderConfig{Config: kafka.Config{Brokers: c.ListenAddrs()}})
	require.NoError(t, err)
	var mu sync.Mutex
	n := 0
	st := s.Stream(delivery.StreamConfig{Report: func(rs []*delivery.Record, v delivery.Verdict) {
		mu.Lock()
		defer mu.Unlock()
		if v.Err != nil {
			t.Error(v.Err)
		}
		n += len(rs)
	}, Unreachable: func(err error) { t.Log(err) }})
	start := time.Now()
	for i := range 200 {
		var rs []*delivery.Record
		for j := range 1000 {
			rs = append(rs, &delivery.Record{Topic: "orders", Key: fmt.Appendf(nil, "k%d", j%500), Value: make([]byte, 315), Ref: int64(i*1000 + j)})
		}
		st.Send(rs)
	}
	require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return n == 200000 }, 20*time.Second, time.Millisecond)
	t.Log(time.Since(start))
	st.Close()
	require.NoError(t, s.Close())
}
