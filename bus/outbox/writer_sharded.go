package outbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/internal/pgtable"
)

// sharded writes msgs to the shards of their keys. When the outbox was given more shards since the last
// time, the statement wrote nothing, and it tries again with their number.
func (w *Writer) sharded(ctx context.Context, exec executor, topics []string, msgs []*message.Message, ignore bool) (int64, error) {
	adapter := w.adapter(topics, ignore)
	for range MaxShards {
		if adapter.shards = int(w.shards.Load()); adapter.shards == 0 {
			if err := w.countShards(ctx, exec); err != nil {
				return 0, err
			}
			continue
		}
		affected, err := w.publish(ctx, exec, adapter, topics, msgs)
		switch {
		case err != nil:
			return 0, err
		case affected > 0 && adapter.guardedAlone(msgs):
			return affected, nil
		case affected > 0:
			return affected - 1, nil
		}
		if err := w.countShards(ctx, exec); err != nil {
			return 0, err
		}
		if int(w.shards.Load()) == adapter.shards {
			return 0, nil // A trigger of the table's kept the row out, as it may without shards.
		}
	}
	return 0, errors.New("outbox: the number of shards changes without end")
}

// countShards asks how many shards there are. It is asked by a statement that only executes, since a [Tx]
// can do no more: what it affects is one row a shard. An outbox that is not split has none, and that aborts
// nothing.
func (w *Writer) countShards(ctx context.Context, exec executor) error {
	result, err := exec.ExecContext(ctx, `SELECT FROM generate_series(1, pg_sequence_last_value(to_regclass(`+pgtable.QuoteLiteral(w.table.shardCount())+`)))`)
	if err != nil {
		return pgtable.WithContext(ctx, explainWrite(w.table, err))
	}
	shards, err := result.RowsAffected()
	if err != nil {
		return fmt.Errorf("outbox: the driver does not tell how many rows a statement affects, and without that there is no writing to shards: %w", err)
	}
	if int(shards) < w.config.Shards {
		return fmt.Errorf("%w: %s has %d shards, and %d were asked for: make them with `tailrace migrate --shards %d`", ErrNotMigrated, w.table.quoted(), shards, w.config.Shards, w.config.Shards)
	}
	w.shards.Store(shards)
	return nil
}
