package kafka

import (
	"math/bits"
	"time"

	"github.com/IBM/sarama"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// batchOverhead is the size of a record batch without records (magic 2).
const batchOverhead = 61

// batch is what a lane has taken from its queue to be appended as one. Once it has been sent it never
// changes, so that a resend is recognised as one.
type batch struct {
	stream  *stream
	entries []entry            // all taken, those that are withheld too
	records []*delivery.Record // those that are sent
	size    int                // encoded, before compression

	sent    time.Time // for the first time
	encoded *sarama.RecordBatch
	slab    *slab

	attempts int
	garbled  int
	unknown  bool // an attempt may have been appended
	solo     bool // goes in a request of its own
	wired    bool // in a request whose answer is awaited
	forsaken bool // reported without waiting for the answer
}

// slab is the memory of a batch in sarama's terms.
type slab struct {
	batch    sarama.RecordBatch
	records  []sarama.Record
	pointers []*sarama.Record
	headers  []sarama.RecordHeader
	hpointer []*sarama.RecordHeader
	names    []byte
}

// encode prepares a batch for the wire. All records carry the time of the batch's making: that of sending.
func (b *batch) encode(s *Sender, now time.Time) {
	if b.encoded != nil {
		return
	}
	b.sent = now
	sl, _ := s.slabs.Get().(*slab)
	headers := 0
	for _, record := range b.records {
		headers += len(record.Headers)
	}
	n := len(b.records)
	sl.records = grown(sl.records, n)
	sl.pointers = grown(sl.pointers, n)
	sl.headers = grown(sl.headers, headers)
	sl.hpointer = grown(sl.hpointer, headers)
	sl.names = sl.names[:0]
	next := 0
	for i, record := range b.records {
		start := next
		for _, header := range record.Headers {
			at := len(sl.names)
			sl.names = append(sl.names, header.Key...)
			sl.headers[next] = sarama.RecordHeader{Key: sl.names[at:len(sl.names):len(sl.names)], Value: header.Value}
			sl.hpointer[next] = &sl.headers[next]
			next++
		}
		r := &sl.records[i]
		*r = sarama.Record{Headers: sl.hpointer[start:next:next], Key: record.Key, Value: record.Value, OffsetDelta: int64(i)}
		sl.pointers[i] = r
	}
	now = now.Truncate(time.Millisecond)
	sl.batch = sarama.RecordBatch{
		Version:          2,
		Codec:            s.codec,
		CompressionLevel: sarama.CompressionLevelDefault,
		LastOffsetDelta:  int32(n - 1), //nolint:gosec // bounded by BatchRecords
		FirstTimestamp:   now,
		MaxTimestamp:     now,
		Records:          sl.pointers,
	}
	b.slab, b.encoded = sl, &sl.batch
}

// free gives the batch's memory back. The batch is not sent any more.
func (b *batch) free(s *Sender) {
	sl := b.slab
	if sl == nil {
		return
	}
	b.slab, b.encoded = nil, nil
	clear(sl.records)
	clear(sl.headers)
	sl.batch = sarama.RecordBatch{}
	s.slabs.Put(sl)
}

func grown[T any](slice []T, n int) []T {
	if cap(slice) < n {
		return make([]T, n, n+n/4)
	}
	return slice[:n]
}

// recordSize is the encoded size of a record at most, whatever its place in the batch.
func recordSize(record *delivery.Record) int {
	// Attributes, timestamp delta (0) and an offset delta of up to 3 bytes.
	size := 5 + bytesSize(len(record.Key)) + bytesSize(len(record.Value)) + varintSize(len(record.Headers))
	for i := range record.Headers {
		size += bytesSize(len(record.Headers[i].Key)) + bytesSize(len(record.Headers[i].Value))
	}
	return size + varintSize(size)
}

func bytesSize(n int) int { return n + varintSize(n) }

// varintSize is the size of a zigzag varint of n, which is not negative.
func varintSize(n int) int {
	return (bits.Len64(uint64(n)<<1|1) + 6) / 7 //nolint:gosec // lengths
}

// reportBatch reports what was sent with the verdict and the withheld between it, in lane order.
func (fx *effects) reportBatch(b *batch, verdict delivery.Verdict) {
	verdict.Sent = b.sent
	if len(b.entries) == len(b.records) {
		fx.report(b.stream, b.records, verdict)
		return
	}
	sent := b.records
	entries := b.entries
	for len(entries) > 0 {
		n := 0
		for n < len(sent) && n < len(entries) && entries[n].record == sent[n] {
			n++
		}
		if n > 0 {
			fx.report(b.stream, sent[:n:n], verdict)
			if verdict.Offset >= 0 {
				verdict.Offset += int64(n)
			}
			sent, entries = sent[n:], entries[n:]
			continue
		}
		for n < len(entries) && (len(sent) == 0 || entries[n].record != sent[0]) {
			n++
		}
		fx.reportEntries(entries[:n], withheld(errFenced))
		entries = entries[n:]
	}
}
