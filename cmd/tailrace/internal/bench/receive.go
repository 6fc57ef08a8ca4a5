package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// receiver consumes a room's topic and notes when each event came, by its id.
type receiver struct {
	client    sarama.Client
	consumer  sarama.Consumer
	consuming sync.WaitGroup
	claims    []sarama.PartitionConsumer

	mu    sync.Mutex
	came  map[string]time.Time
	twice int
	fault error
}

// receive begins to consume. The caller closes it.
func (r *room) receive() (_ *receiver, err error) {
	config, err := r.cluster.Sarama()
	if err != nil {
		return nil, err
	}
	config.Consumer.Return.Errors = true
	v := &receiver{came: map[string]time.Time{}}
	if v.client, err = sarama.NewClient(r.cluster.Brokers, config); err != nil {
		return nil, fmt.Errorf("%w", err)
	}
	if v.consumer, err = sarama.NewConsumerFromClient(v.client); err != nil {
		return nil, errors.Join(fmt.Errorf("%w", err), v.client.Close())
	}
	for partition := range r.partitions() {
		claim, err := v.consumer.ConsumePartition(r.topic, partition, sarama.OffsetOldest)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("consume what was forwarded: %w", err), v.close())
		}
		v.claims = append(v.claims, claim)
		v.consuming.Go(func() { v.consume(claim) })
	}
	return v, nil
}

func (v *receiver) consume(claim sarama.PartitionConsumer) {
	messages, faults := claim.Messages(), claim.Errors()
	for messages != nil || faults != nil {
		select {
		case message, more := <-messages:
			if !more {
				messages = nil
				continue
			}
			v.note(idOf(message), time.Now())
		case err, more := <-faults:
			if !more {
				faults = nil
				continue
			}
			v.mu.Lock()
			v.fault = err
			v.mu.Unlock()
		}
	}
}

func idOf(message *sarama.ConsumerMessage) string {
	for _, header := range message.Headers {
		if string(header.Key) == delivery.UUIDHeader {
			return string(header.Value)
		}
	}
	return ""
}

func (v *receiver) note(id string, at time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, again := v.came[id]; again {
		v.twice++
		return
	}
	v.came[id] = at
}

// count is how many events have come.
func (v *receiver) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.came)
}

// take returns when each of those events came that came since the last call, once there are n of them.
func (v *receiver) take(ctx context.Context, n int) (map[string]time.Time, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("not all events came within a minute"))
	defer cancel()
	for v.count() < n {
		if err := wait(ctx, time.Millisecond); err != nil {
			return nil, fmt.Errorf("%d of %d events came: %w", v.count(), n, err)
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	came := v.came
	v.came = map[string]time.Time{}
	if len(came) != n || v.twice > 0 {
		return nil, fmt.Errorf("of %d events %d came, and %d of them twice: this is no measurement", n, len(came), v.twice)
	}
	if v.fault != nil {
		return nil, fmt.Errorf("consume what was forwarded: %w", v.fault)
	}
	return came, nil
}

func (v *receiver) close() error {
	for _, claim := range v.claims {
		claim.AsyncClose()
	}
	v.consuming.Wait()
	return errors.Join(v.consumer.Close(), v.client.Close())
}
