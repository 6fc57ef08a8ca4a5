package kafka

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
)

// TestManyTopicsAreLookedUpTogether, whenever each was first used, and forgotten when they are used no more.
func TestManyTopicsAreLookedUpTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		s, err := NewSender(SenderConfig{Config: Config{Brokers: []string{"nowhere:9092"}}})
		require.NoError(t, err)
		defer func() { require.NoError(t, s.Close()) }()
		use := func(i int) {
			s.mu.Lock()
			defer s.mu.Unlock()
			topic := s.topic(fmt.Sprintf("tenant-%d", i))
			topic.used = time.Now()
			if topic.state == topicAsking {
				s.ask(topic)
			}
		}
		// look does what the control loop does until nothing is due, and says how long it would wait.
		look := func() (requests int, wait time.Duration) {
			for {
				w := s.work()
				if w.nothing() {
					return requests, w.wait
				}
				s.mu.Lock()
				for _, name := range w.limits {
					s.topics[name].limitDue, s.topics[name].limitAsked = false, time.Now()
				}
				for _, name := range w.topics {
					s.learn(new(effects), s.topics[name], &sarama.TopicMetadata{Name: name, Partitions: []*sarama.PartitionMetadata{{ID: 0, Leader: 1}}})
				}
				s.mu.Unlock()
				if len(w.topics) > 0 {
					requests++
				}
			}
		}
		for i := range n { // one after the other, for as long as it takes until the first is looked up again
			use(i)
			look()
			time.Sleep(s.config.MetadataRefresh / n)
		}
		require.Len(t, s.Topics(), n)

		const minutes = 10
		requests := 0
		for end := time.Now().Add(minutes * time.Minute); time.Now().Before(end); {
			for i := range n / 2 {
				use(i)
			}
			asked, wait := look()
			requests += asked
			time.Sleep(wait)
		}
		require.Len(t, s.Topics(), n/2, "the others had no record for five minutes")
		require.Less(t, requests, minutes*12)
		require.GreaterOrEqual(t, requests, minutes-1)

		for end := time.Now().Add(2 * idleRefreshes * time.Minute); time.Now().Before(end); {
			_, wait := look()
			time.Sleep(wait)
		}
		require.Empty(t, s.Topics())
	})
}

// TestAnIdentityWithoutEpochsLeft is not used for the partitions of forgotten topics again.
func TestAnIdentityWithoutEpochsLeft(t *testing.T) {
	t.Parallel()
	s, err := NewSender(SenderConfig{Config: Config{Brokers: []string{"nowhere:9092"}}})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.identity = identity{id: 7, generation: 1}
	forgotten := &lane{identity: identity{id: 7, epoch: math.MaxInt16 - 1, generation: 1}}
	for i, want := range []int16{math.MaxInt16, 0} {
		s.topics["orders"] = &topic{name: "orders", all: []*lane{forgotten}}
		s.forgetIdle(new(effects), time.Now())
		require.Empty(t, s.topics)
		anew := new(lane)
		if i == 0 {
			require.True(t, s.identify(anew))
			require.Equal(t, identity{7, want, 1}, anew.identity)
			forgotten = anew
			continue
		}
		require.False(t, s.identify(anew))
		require.True(t, s.identityWanted)
		s.identity = identity{id: 8, generation: 2}
		require.True(t, s.identify(anew))
		require.Equal(t, s.identity, anew.identity)
	}
}
