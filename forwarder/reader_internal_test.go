package forwarder

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

// table is an outbox in memory, with transactions that take ids, and commit or roll back in any order.
type table struct {
	next int64
	rows map[int64]outbox.Row // committed
	open map[string][]int64   // ids taken by transactions that are still open
}

func (t *table) Read(_ context.Context, dst []outbox.Row, after int64, gaps []outbox.Range, limit outbox.Limit) ([]outbox.Row, bool, error) {
	for id := int64(1); id < t.next && len(dst) < limit.Rows; id++ {
		row, committed := t.rows[id]
		asked := slices.ContainsFunc(gaps, func(g outbox.Range) bool { return g.Low <= id && id <= g.High })
		if committed && (id > after || asked && row.Pending) {
			dst = append(dst, row)
		}
	}
	return dst, len(dst) == limit.Rows, nil
}

func (t *table) Moved(context.Context) (outbox.Moved, error) { return outbox.Moved{}, nil }

func (t *table) Fetch(_ context.Context, dst []outbox.Row, ids []int64, _ outbox.Limit) ([]outbox.Row, bool, error) {
	for _, id := range ids {
		if row, ok := t.rows[id]; ok && row.Pending {
			dst = append(dst, row)
		}
	}
	return dst, false, nil
}

func (t *table) Unsettled(_ context.Context, after, upTo int64, limit int) (ids []int64, last int64, err error) {
	seen := 0
	for id := after + 1; id <= upTo; id++ {
		row, ok := t.rows[id]
		if !ok {
			continue
		}
		if seen++; row.Pending {
			ids = append(ids, id)
		}
		if seen == limit {
			return ids, id, nil
		}
	}
	return ids, upTo, nil
}

func (t *table) Holders(context.Context) (map[string]struct{}, error) {
	holders := map[string]struct{}{}
	for name := range t.open {
		holders[name] = struct{}{}
	}
	return holders, nil
}

func (t *table) Issued(context.Context) (int64, error) { return t.next - 1, nil }
func (t *table) Mark(context.Context, int64) error     { return nil }
func (t *table) Beat(context.Context) error            { return nil }

func testReader(t *table) *reader {
	config, _ := Config{BatchSize: 7}.withDefaults()
	m, _ := newMetrics(nil, "t")
	r := newReader(&config, m, t, 0)
	r.out = make(chan found, 1000)
	r.room.Store(1 << 30)
	return r
}

// TestReaderHandsOverEachRowOnceInOrder lets transactions of eight keys take ids, commit and roll back
// in any order, as long as the writers of one key take turns, while the reader reads.
func TestReaderHandsOverEachRowOnceInOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		db := &table{next: 1, rows: map[int64]outbox.Row{}, open: map[string][]int64{}}
		r := testReader(db)
		r.config.BatchSize = rapid.IntRange(1, 12).Draw(t, "batch size")
		ctx := context.Background()
		handed := map[int64]int{}
		last := map[string]int64{}
		committed := map[int64]bool{}
		keyOf := map[string]string{}
		serial := 0
		take := func() {
			for len(r.out) > 0 {
				f := <-r.out
				for _, row := range f.rows {
					handed[row.ID]++
					if row.ID < last[row.Topic] {
						t.Fatalf("row %d of key %s came after row %d", row.ID, row.Topic, last[row.Topic])
					}
					last[row.Topic] = row.ID
					if rapid.Bool().Draw(t, "settled") {
						row.Pending = false
						db.rows[row.ID] = row
					}
				}
			}
		}
		read := func() {
			full := true
			for full {
				var err error
				full, err = r.forward(ctx, r.config.BatchSize)
				require.NoError(t, err)
				if rapid.Bool().Draw(t, "only one read") {
					break
				}
			}
			take()
		}
		end := func(commit bool) {
			if len(db.open) == 0 {
				return
			}
			name := rapid.SampledFrom(sortedNames(db.open)).Draw(t, "which")
			if commit {
				for _, id := range db.open[name] {
					db.rows[id] = outbox.Row{ID: id, Pending: true, Topic: keyOf[name]}
					committed[id] = true
				}
			}
			delete(db.open, name)
		}
		t.Repeat(map[string]func(*rapid.T){
			"begin": func(t *rapid.T) {
				key := string(rune('a' + rapid.IntRange(0, 7).Draw(t, "key")))
				for name := range db.open {
					if keyOf[name] == key {
						return // its aggregate's row is locked
					}
				}
				serial++
				name := string(rune('A'+serial%26)) + key + string(rune('0'+serial/26%10)) + string(rune('0'+serial/260))
				n := rapid.IntRange(1, 4).Draw(t, "ids")
				ids := make([]int64, n)
				for i := range ids {
					ids[i] = db.next
					db.next++
				}
				keyOf[name], db.open[name] = key, ids
			},
			"commit":   func(*rapid.T) { end(true) },
			"rollback": func(*rapid.T) { end(false) },
			"read":     func(*rapid.T) { read() },
			"look": func(t *rapid.T) {
				r.nextLook = time.Time{}
				require.NoError(t, r.look(ctx))
			},
			"": func(t *rapid.T) {
				for id, n := range handed {
					if n > 1 {
						t.Fatalf("row %d was handed over %d times", id, n)
					}
				}
			},
		})
		for len(db.open) > 0 {
			end(rapid.Bool().Draw(t, "commit"))
		}
		for range 3 {
			for full := true; full; {
				full, _ = r.forward(ctx, r.config.BatchSize)
			}
			r.nextLook = time.Time{}
			require.NoError(t, r.look(ctx))
		}
		take()
		for id := range committed {
			if handed[id] != 1 {
				t.Fatalf("row %d was handed over %d times", id, handed[id])
			}
		}
		if n := len(r.gaps.gaps); n > 0 {
			t.Fatalf("%d gaps stay though nobody can fill them: %v", n, r.gaps.gaps)
		}
		if r.frontier() != r.last {
			t.Fatalf("the frontier is %d, %d was read", r.frontier(), r.last)
		}
	})
}

func sortedNames(m map[string][]int64) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func TestManyGapsAreCoveredByFewRanges(t *testing.T) {
	t.Parallel()
	var l gapList
	for i := range int64(5000) {
		l.add(i*10, i*10)
	}
	// A wide distance is where the cut belongs.
	for i := range int64(5000) {
		l.add(10_000_000+i*10, 10_000_000+i*10)
	}
	ranges := l.ranges()
	require.Len(t, ranges, coveringRanges)
	require.True(t, slices.ContainsFunc(ranges, func(r outbox.Range) bool { return r.High == 49_990 }), "cut at the widest distance")
	for _, g := range l.gaps {
		require.True(t, slices.ContainsFunc(ranges, func(r outbox.Range) bool { return r.Low <= g.Low && g.High <= r.High }))
	}
}

func TestGapsAreSplitByWhatIsFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		found []int64
		want  []outbox.Range
	}{
		"the start":   {[]int64{10}, []outbox.Range{{Low: 11, High: 20}, {Low: 30, High: 30}}},
		"the end":     {[]int64{20}, []outbox.Range{{Low: 10, High: 19}, {Low: 30, High: 30}}},
		"the middle":  {[]int64{12, 15}, []outbox.Range{{Low: 10, High: 11}, {Low: 13, High: 14}, {Low: 16, High: 20}, {Low: 30, High: 30}}},
		"a whole one": {[]int64{30}, []outbox.Range{{Low: 10, High: 20}}},
		"nothing":     {nil, []outbox.Range{{Low: 10, High: 20}, {Low: 30, High: 30}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var l gapList
			l.add(10, 20)
			l.add(30, 30)
			l.settle(c.found, true)
			require.Equal(t, c.want, l.ranges())
		})
	}
}
