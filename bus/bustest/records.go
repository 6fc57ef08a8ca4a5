package bustest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Record is one record of a topic.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	// Key is nil for a null key, and empty but not nil for an empty one. So is Value.
	Key, Value []byte
	// Headers are in the record's order.
	Headers   []RecordHeader
	Timestamp time.Time
}

// RecordHeader is one header of a record.
type RecordHeader struct {
	Key   string
	Value []byte
}

// Header returns the value of the last header of that name, and whether there is one.
func (r Record) Header(name string) (string, bool) {
	for _, header := range slices.Backward(r.Headers) {
		if header.Key == name {
			return string(header.Value), true
		}
	}
	return "", false
}

// Records returns every record the topic holds now, by partition and offset. Faults do not touch it.
func (b *Broker) Records(t testing.TB, topic string) []Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	records, err := b.read(ctx, topic, 0)
	if err != nil {
		t.Fatalf("bustest: read %s: %v", topic, err)
	}
	return records
}

// WaitRecords waits until the topic holds at least n records and returns those it then holds, by
// partition and offset. It fails the test if that takes longer than the timeout.
func (b *Broker) WaitRecords(t testing.TB, topic string, n int, timeout time.Duration) []Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	records, err := b.read(ctx, topic, n)
	if err != nil {
		t.Fatalf("bustest: %s has %d of the %d records expected within %s: %v", topic, len(records), n, timeout, err)
	}
	return records
}

// read reads the topic to its end, and past that until it has at least n records.
func (b *Broker) read(ctx context.Context, topic string, n int) ([]Record, error) {
	admin := kadm.NewClient(b.client)
	var starts, ends map[int32]int64
	look := func() (err error) {
		starts, ends, err = offsets(ctx, admin, topic)
		return err
	}
	err := look()
	if err != nil && n > 0 {
		err = until(ctx, look) // the topic may still have to be made
	}
	if err != nil {
		return nil, err
	}
	from := make(map[int32]kgo.Offset, len(starts))
	missing := make(map[int32]int64) // by partition, the offset to read up to
	for partition, start := range starts {
		from[partition] = kgo.NewOffset().At(start)
		if end := ends[partition]; end > start {
			missing[partition] = end
		}
	}
	if n == 0 && len(missing) == 0 {
		return nil, nil
	}
	// Control records count, since a transaction's marker can be what stands at the end.
	client, err := b.cluster.Client(kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond),
		freshMetadata, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	if err != nil {
		return nil, err
	}
	defer client.Close()

	var records []Record
	for len(records) < n || len(missing) > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return records, ctx.Err()
		}
		if errs := fetches.Errors(); len(errs) > 0 {
			return records, errs[0].Err
		}
		fetches.EachRecord(func(record *kgo.Record) {
			if end, ok := missing[record.Partition]; ok && record.Offset+1 >= end {
				delete(missing, record.Partition)
			}
			if !record.Attrs.IsControl() {
				records = append(records, fromKgo(record))
			}
		})
	}
	slices.SortFunc(records, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return records, nil
}

// offsets returns the first and the end offset of each partition of a topic.
func offsets(ctx context.Context, admin *kadm.Client, topic string) (starts, ends map[int32]int64, err error) {
	collect := func(listed kadm.ListedOffsets, err error) (map[int32]int64, error) {
		if err != nil {
			return nil, err
		}
		if err := listed.Error(); err != nil {
			return nil, err
		}
		if len(listed[topic]) == 0 {
			return nil, fmt.Errorf("no topic %s", topic)
		}
		found := make(map[int32]int64)
		for partition, offset := range listed[topic] {
			found[partition] = offset.Offset
		}
		return found, nil
	}
	if starts, err = collect(admin.ListStartOffsets(ctx, topic)); err != nil {
		return nil, nil, err
	}
	ends, err = collect(admin.ListEndOffsets(ctx, topic))
	return starts, ends, err
}

func fromKgo(record *kgo.Record) Record {
	headers := make([]RecordHeader, len(record.Headers))
	for i, header := range record.Headers {
		headers[i] = RecordHeader{Key: header.Key, Value: header.Value}
	}
	return Record{
		Topic: record.Topic, Partition: record.Partition, Offset: record.Offset,
		Key: record.Key, Value: record.Value, Headers: headers, Timestamp: record.Timestamp,
	}
}
