package forwarder

import (
	"context"
	"maps"
	"math"
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
	// ids are the transaction ids of those that have one. Between is called between two statements.
	ids     map[string]uint32
	between func()
	// lingering are transactions that have ended and still hold their locks.
	lingering  map[string]struct{}
	nextID     uint32
	rolledBack map[uint32]struct{}
}

func newTable() *table {
	return &table{
		next: 1, rows: map[int64]outbox.Row{}, open: map[string][]int64{}, ids: map[string]uint32{}, between: func() {},
		lingering: map[string]struct{}{}, nextID: math.MaxUint32 - 20, rolledBack: map[uint32]struct{}{},
	}
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

func (t *table) Holders(context.Context) (outbox.Holders, error) {
	holders := outbox.Holders{}
	for name := range t.open {
		holders[name] = t.ids[name]
	}
	for name := range t.lingering {
		holders[name] = t.ids[name]
	}
	return holders, nil
}

func (t *table) Running(context.Context) (outbox.Running, error) {
	t.between()
	running := outbox.Running{Next: t.nextID, IDs: map[uint32]struct{}{}}
	for name := range t.open {
		if id := t.ids[name]; id != 0 {
			running.IDs[id] = struct{}{}
		}
	}
	return running, nil
}

func (t *table) RolledBack(_ context.Context, ids []uint32) (map[uint32]struct{}, error) {
	gone := maps.Clone(t.rolledBack)
	maps.DeleteFunc(gone, func(id uint32, _ struct{}) bool { return !slices.Contains(ids, id) })
	return gone, nil
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

// TestReaderHandsOverEachRowOnceInOrder lets transactions of four keys take ids, commit and roll back
// in any order, as long as the writers of one key take turns, while the reader reads.
func TestReaderHandsOverEachRowOnceInOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		db := newTable()
		r := testReader(db)
		r.gaps.exact, r.gaps.few = rapid.IntRange(1, 20).Draw(t, "exact"), rapid.IntRange(0, 5).Draw(t, "few")
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
			} else if id := db.ids[name]; id != 0 {
				db.rolledBack[id] = struct{}{}
			}
			delete(db.open, name)
			if rapid.Bool().Draw(t, "lingers") {
				db.lingering[name] = struct{}{}
			}
		}
		db.between = func() {
			if rapid.Bool().Draw(t, "ends between") {
				end(rapid.Bool().Draw(t, "commit"))
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"begin": func(t *rapid.T) {
				key := string(rune('a' + rapid.IntRange(0, 3).Draw(t, "key")))
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
				if db.nextID++; db.nextID < 3 {
					db.nextID = 3
				}
				if rapid.Bool().Draw(t, "has an id") {
					db.ids[name] = db.nextID - 1
				}
			},
			"go on writing": func(t *rapid.T) {
				if len(db.open) == 0 {
					return
				}
				name := rapid.SampledFrom(sortedNames(db.open)).Draw(t, "which")
				if outbox.Prepared(name) {
					return
				}
				db.open[name] = append(db.open[name], db.next)
				db.next++
			},
			"get an id": func(*rapid.T) {
				for name := range db.open {
					if db.ids[name] == 0 {
						db.ids[name] = db.nextID
						db.nextID++
						return
					}
				}
			},
			"prepare": func(*rapid.T) {
				for _, name := range sortedNames(db.open) {
					if id := db.ids[name]; id != 0 && !outbox.Prepared(name) {
						prepared := "-1/" + name
						db.open[prepared], db.ids[prepared], keyOf[prepared] = db.open[name], id, keyOf[name]
						delete(db.open, name)
						delete(db.ids, name)
						return
					}
				}
			},
			"release":  func(*rapid.T) { clear(db.lingering) },
			"commit":   func(*rapid.T) { end(true) },
			"rollback": func(*rapid.T) { end(false) },
			"read":     func(*rapid.T) { read() },
			"look": func(t *rapid.T) {
				r.nextLook = time.Time{}
				require.NoError(t, r.look(ctx))
			},
			"look and read for a while": func(t *rapid.T) {
				for range 3 {
					r.nextLook = time.Time{}
					require.NoError(t, r.look(ctx))
					read()
				}
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
		clear(db.lingering)
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
		if n := r.gaps.len(); n > 0 {
			t.Fatalf("%d gaps stay though nobody can fill them: %v", n, r.gaps.gaps)
		}
		if r.frontier() != r.last {
			t.Fatalf("the frontier is %d, %d was read", r.frontier(), r.last)
		}
	})
}

// A transaction that has held many ids for long is left out of reads, until it ends: then its rows still go
// before those that were written behind it.
func TestReaderNoticesTheEndOfWhoHoldsManyGaps(t *testing.T) {
	t.Parallel()
	endsEitherWay(t, func(t *testing.T, db *table, r *reader, end func()) {
		read := func() []int64 { return readAll(t, r) }
		require.Empty(t, r.gaps.ask().ranges, "reads ask for none of them")
		require.Equal(t, 20, r.gaps.len())
		require.Zero(t, r.frontier())

		db.row(42, "other")
		require.Equal(t, []int64{42}, read(), "others flow")
		for id := int64(1); id <= 39; id += 2 {
			db.row(id, "bulk")
		}
		end()
		db.row(43, "bulk")
		got := read()
		require.Len(t, got, 21)
		require.IsIncreasing(t, got)
		clear(db.lingering)
		for range 2 {
			lookAt(t, r)
			require.Empty(t, read())
		}
		require.Zero(t, r.gaps.len())
		require.EqualValues(t, 43, r.frontier())
	})
}

// What a transaction has held that rolled back is never asked for again; what another commits in the middle of
// the read that finds this out still is.
func TestReaderForgetsTheGapsOfWhoRolledBack(t *testing.T) {
	t.Parallel()
	endsEitherWay(t, func(t *testing.T, db *table, r *reader, end func()) {
		db.open["small"], db.ids["small"], db.nextID = []int64{41}, 101, 102
		db.row(42, "other")
		require.Equal(t, []int64{42}, readAll(t, r))
		lookAt(t, r)
		require.Equal(t, 21, r.gaps.len())

		db.rolledBack[100] = struct{}{}
		end()
		db.between = func() {
			delete(db.open, "small")
			db.row(41, "small")
			db.between = func() {}
		}
		db.row(43, "other")
		full, err := r.forward(t.Context(), r.config.BatchSize)
		require.NoError(t, err)
		require.False(t, full)
		require.Empty(t, r.gaps.quiet)
		require.Equal(t, []outbox.Range{{Low: 41, High: 41}}, r.gaps.ask().ranges)
		require.Equal(t, []int64{43, 41}, readAll(t, r))
		require.EqualValues(t, 43, r.frontier())
	})
}

func (t *table) row(id int64, key string) {
	t.rows[id] = outbox.Row{ID: id, Pending: true, Topic: key}
	t.next = max(t.next, id+1)
}

// endsEitherWay runs a test of a reader that leaves out the gaps of a transaction, which end ends: it gives its locks
// back with that, or later.
func endsEitherWay(t *testing.T, test func(t *testing.T, db *table, r *reader, end func())) {
	t.Helper()
	for name, lingers := range map[string]bool{"with its locks": false, "before its locks": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newTable()
			r := testReader(db)
			r.gaps.few = 5
			holdGaps(t, db, r)
			test(t, db, r, func() {
				delete(db.open, "bulk")
				if lingers {
					db.lingering["bulk"] = struct{}{}
				}
			})
		})
	}
}

// holdGaps has a transaction hold 20 gaps, with the transaction id 100, until reads leave them out.
func holdGaps(t *testing.T, db *table, r *reader) {
	t.Helper()
	db.open["bulk"], db.ids["bulk"], db.nextID = []int64{1}, 100, 101
	for id := int64(2); id <= 40; id += 2 {
		db.row(id, "other")
	}
	require.Len(t, readAll(t, r), 20)
	for range 2 {
		require.Empty(t, r.gaps.quiet)
		lookAt(t, r)
		require.Empty(t, readAll(t, r))
	}
	require.Len(t, r.gaps.quiet, 1)
}

func lookAt(t *testing.T, r *reader) {
	t.Helper()
	r.nextLook = time.Time{}
	require.NoError(t, r.look(t.Context()))
}

// readAll reads until the end and returns the ids that were handed over, in turn.
func readAll(t *testing.T, r *reader) (ids []int64) {
	t.Helper()
	for full := true; full; {
		var err error
		full, err = r.forward(t.Context(), r.config.BatchSize)
		require.NoError(t, err)
	}
	for len(r.out) > 0 {
		for _, row := range (<-r.out).rows {
			ids = append(ids, row.ID)
		}
	}
	return ids
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
	l := newGapList()
	for i := range int64(5000) {
		l.add(i*10, i*10)
	}
	// A wide distance is where the cut belongs.
	for i := range int64(5000) {
		l.add(10_000_000+i*10, 10_000_000+i*10)
	}
	ranges := l.ask().ranges
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
			l := newGapList()
			l.add(10, 20)
			l.add(30, 30)
			l.settle(c.found, true, l.ask())
			require.Equal(t, c.want, l.ask().ranges)
		})
	}
}
