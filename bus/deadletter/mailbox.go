package deadletter

import (
	"context"
	"errors"
	"fmt"
)

// Mailbox is the dead-letter topic, and the progress of the runs over it; bus/kafka has one.
type Mailbox interface {
	// Partitions returns where each partition of the topic begins and ends now, and what was committed.
	Partitions(ctx context.Context) ([]Partition, error)
	// Read calls yield with each record of a partition from the offset from up to, and without, the offset
	// to, in order, until yield returns an error, which it returns. Offsets may be missing.
	Read(ctx context.Context, partition int32, from, to int64, yield func(Record) error) error
	// Commit keeps an offset and a note for a partition. The note is text of at most 4,000 bytes.
	Commit(ctx context.Context, partition int32, offset int64, note string) error
}

// Partition is how a partition of the dead-letter topic stands.
type Partition struct {
	ID int32
	// Start is the first offset there is, End the one that the next record will have.
	Start, End int64
	// Committed and Note are what was last committed, -1 and "" for nothing.
	Committed int64
	Note      string
}

func (p Partition) progress() (progress, error) {
	done, err := readProgress(p.Committed, p.Note)
	if err != nil {
		return done, fmt.Errorf("%w (partition %d)", err, p.ID)
	}
	if done.next > p.End { // the topic was deleted and made anew
		done = progress{}
	}
	done.settle(0, p.Start)
	return done, nil
}

// ErrEnough ends a [List] early, without an error, when yield returns it.
var ErrEnough = errors.New("deadletter: enough")

// List calls yield with each letter that the filter chooses, up to the topic's end as it is now,
// partition after partition in order; settled ones too if they are asked for. It commits nothing.
func List(ctx context.Context, mailbox Mailbox, filter Filter, settled bool, yield func(l Letter, settled bool) error) error {
	partitions, err := mailbox.Partitions(ctx)
	if err != nil {
		return err
	}
	for _, partition := range partitions {
		done, err := partition.progress()
		if err != nil {
			return err
		}
		from := done.next
		if settled {
			from = partition.Start
		}
		err = mailbox.Read(ctx, partition.ID, from, partition.End, func(record Record) error {
			l, was := Read(record), done.settled(record.Offset)
			if was && !settled || !filter.Match(l) {
				return nil
			}
			return yield(l, was)
		})
		if errors.Is(err, ErrEnough) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}
