package inbox_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Every message is delivered twice, since its first ack is lost, and a third time, since it was published
// twice.
func TestOnKafkaRedeliveredMessagesAreHandledOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	sent := f.publish(t, 100)
	require.NoError(t, f.publisher.Publish(topic, sent...))
	registry, stop := f.start(t, member{Group: "mailers", FailAcks: true})
	require.Eventually(t, func() bool { return duplicates(t, registry) >= 2*len(sent) }, patience, tick)
	stop()
	f.account(t, len(sent), 2*len(sent))
}

// Members come and go while messages arrive.
func TestOnKafkaRebalancesInTheMiddle(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 6)
	sent := 0
	var stops []func()
	for i := range 6 {
		sent += len(f.publish(t, 100))
		_, stop := f.start(t, member{Group: "mailers", FailAcks: i%2 == 0})
		stops = append(stops, stop)
		f.waitHandled(t, sent-90)
		if i >= 2 {
			stops[i-2]()
		}
	}
	f.account(t, sent, sent)
}
