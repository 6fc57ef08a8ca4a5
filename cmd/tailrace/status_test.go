package main_test

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/outbox"
)

// standing is a line of `tailrace status --json`.
type standing struct {
	Name, Outbox, Database, Table, Error string
	Owner                                string
	OwnedSince                           time.Time `json:"owned_since"`
	LastBeat                             float64   `json:"last_beat_age_seconds"`
	Members                              int
	InGroup                              bool `json:"owner_in_group"`
	Pending, Retrying, Blocked, Dead     int
	Refusal                              string
	Oldest                               float64 `json:"oldest_pending_age_seconds"`
	Shard, Shards, Partitions            int
	Room                                 int `json:"partition_room_events"`
	Troubles                             []string
}

// standings are the lines of a status by name; the rest is what it printed besides them.
func standings(t testing.TB, env []string, args ...string) (code int, all map[string]standing, rest string) {
	t.Helper()
	code, output := run(t, env, append([]string{"status", "--json", "--timeout", patience.String()}, args...)...)
	all = map[string]standing{}
	for line := range strings.Lines(output) {
		var one standing
		if !strings.HasPrefix(line, "{") {
			rest += line
			continue
		}
		require.NoError(t, json.Unmarshal([]byte(line), &one), line)
		all[one.Name] = one
	}
	return code, all, rest
}

// cells returns the lines of the table of `tailrace status`, by their first cell.
func cells(output string) map[string][]string {
	all := map[string][]string{}
	for line := range strings.Lines(output) {
		if fields := strings.Fields(line); len(fields) > 10 {
			all[fields[0]] = fields
		}
	}
	return all
}

// TestStatusOfManyOutboxes: tables of one database, one in shards and one in partitions, an outbox of another
// database, one whose database refuses connections and one whose database takes them and never answers.
func TestStatusOfManyOutboxes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other, otherDSN := bustest.Postgres(t)
	_, err := outbox.Migrate(t.Context(), other, outbox.MigrateConfig{Table: "parts", Partitioned: true, PartitionRows: 1000})
	require.NoError(t, err)
	_, err = outbox.Migrate(t.Context(), b.db, outbox.MigrateConfig{Shards: 2})
	require.NoError(t, err)
	_, err = outbox.Migrate(t.Context(), b.db, outbox.MigrateConfig{Table: "billing"})
	require.NoError(t, err)
	env := []string{
		"DATABASE_URL=" + b.dsn, "KAFKA_BROKERS=" + strings.Join(b.broker.Brokers(), ","), "TAILRACE_GROUP=fleet",
		"EVENT_OUTBOX_TABLE=billing", "TAILRACE_OUTBOXES=orders=" + b.dsn + " parts=" + otherDSN + "#parts",
	}
	names := []string{"billing", "orders", "orders/event_outbox_shard_1", "parts"}
	var processes []*process
	for range 2 {
		processes = append(processes, start(t, env, "forward", "--http-addr", "127.0.0.1:0"))
	}
	share := func() map[int]int {
		_, all, _ := standings(t, env)
		pids := map[int]int{}
		for _, name := range names {
			_, text, _ := strings.Cut(all[name].Owner, ":")
			pid, _ := strconv.Atoi(text)
			pids[pid]++
		}
		return pids
	}
	require.Eventually(t, func() bool {
		pids := share()
		return pids[processes[0].pid()] == 2 && pids[processes[1].pid()] == 2
	}, patience, 100*tick, "each process owns two")

	// Events that no topic can take: one that spends its attempts, one that has many, and two behind that.
	b.broker.CreateTopic(t, letterTopic, 1, nil)
	bad := func(id string, attempts int) {
		_, err := b.db.ExecContext(t.Context(), `INSERT INTO billing (event_id, topic, payload, key, max_retries) VALUES ($1, 'no such topic!', '{}', $2, $3)`, id, attempts, attempts)
		require.NoError(t, err)
	}
	var code int
	var all map[string]standing
	var rest string
	troubled := func(dead, retrying, blocked int) {
		require.Eventually(t, func() bool {
			code, all, rest = standings(t, env)
			one := all["billing"]
			return code == 0 && one.Dead == dead && one.Retrying == retrying && one.Blocked == blocked
		}, patience, 100*tick, "billing is in trouble")
	}
	bad("dead", 1)
	bad("first", 1000)
	troubled(1, 1, 0)
	bad("second", 1000)
	bad("third", 1000)
	troubled(1, 1, 2)
	require.Empty(t, rest)
	require.ElementsMatch(t, names, keys(all))
	for name, one := range all {
		require.Equal(t, 2, one.Members, name)
		require.True(t, one.InGroup, name)
		require.Less(t, one.LastBeat, patience.Seconds(), name)
		require.WithinDuration(t, time.Now(), one.OwnedSince, patience, name)
		require.Empty(t, one.Error, name)
		require.NotContains(t, one.Database, "password", name)
	}
	require.Equal(t, 3, all["billing"].Pending)
	require.Positive(t, all["billing"].Oldest)
	require.NotEmpty(t, all["billing"].Refusal)
	require.Len(t, all["billing"].Troubles, 2)
	require.Equal(t, []int{2, 1, 2}, []int{all["orders"].Shards, all["orders/event_outbox_shard_1"].Shard, all["orders/event_outbox_shard_1"].Shards})
	require.Equal(t, `"public"."event_outbox_shard_1"`, all["orders/event_outbox_shard_1"].Table)
	require.Equal(t, "orders", all["orders/event_outbox_shard_1"].Outbox)
	require.Equal(t, 8, all["parts"].Partitions)
	require.Equal(t, 8000, all["parts"].Room)
	require.Empty(t, all["parts"].Troubles)
	for _, p := range processes { // one name for status and metrics
		_, metrics := p.get("/metrics")
		for _, name := range names {
			require.Contains(t, metrics, fmt.Sprintf("tailrace_forwarder_owner{outbox=%q}", name))
		}
	}

	code, output := run(t, env, "status", "--timeout", patience.String())
	require.Zero(t, code, output)
	lines := cells(output)
	require.Equal(t, all["billing"].Owner, lines["billing"][1])
	require.Equal(t, []string{"2", "3"}, lines["billing"][5:7], output)
	require.Contains(t, output, "1 dead: `tailrace deadletters list` says why")
	require.Contains(t, output, "1 refused and tried again, 2 wait behind: ")
	require.Equal(t, []string{"2", "0", "-", "0", "0", "0"}, lines["parts"][5:], "no trouble: "+output)

	// Two databases that are away hide no other, and share the time that is given.
	silent := listenSilently(t)
	require.Eventually(t, func() bool {
		code, all, rest = standings(t, env, "--timeout", "3s",
			"--outbox", "gone=postgres://app:s3cret@127.0.0.1:1/gone", "--outbox", "mute=postgres://app:s3cret@"+silent+"/mute?sslmode=disable",
			"--outbox", "mute2=postgres://app:s3cret@"+silent+"/mute?sslmode=disable#other", "--outbox", "parts="+otherDSN+"#parts", "--outbox", "lost="+otherDSN)
		return all["billing"].Owner != "" && all["parts"].Owner != "" && strings.Contains(all["lost"].Error, "tailrace migrate")
	}, patience, tick)
	require.Equal(t, 1, code)
	require.ElementsMatch(t, []string{"billing", "gone", "mute", "mute2", "parts", "lost"}, keys(all), "a flag wins over the variable")
	require.Empty(t, all["billing"].Error+all["parts"].Error)
	require.Contains(t, all["gone"].Error, "the database is away: ")
	require.Equal(t, "postgres://app@127.0.0.1:1/gone", all["gone"].Database)
	require.Contains(t, all["mute"].Error, "the database has not answered within 3s")
	require.Contains(t, rest, "outbox gone: the database is away: ")
	require.Contains(t, rest, "outbox mute, mute2: the database has not answered within 3s")
	require.Contains(t, rest, "run this with the DATABASE_URL of outbox lost, and try again:\ntailrace migrate\n")
	require.NotContains(t, rest, "s3cret")

	code, output = run(t, env, "status", "--timeout", patience.String(), "--outbox", "gone=postgres://app:s3cret@127.0.0.1:1/gone")
	require.Equal(t, 1, code)
	lines = cells(output)
	require.Equal(t, strings.Repeat("?", 9), strings.Join(lines["gone"][1:10], ""), output)
	require.Equal(t, "3", lines["billing"][6], output)
	require.NotContains(t, output, "s3cret")

	for _, p := range processes {
		p.stop()
	}
	require.Eventually(t, func() bool {
		_, output = run(t, env, "status")
		return strings.Count(output, "nobody forwards it: run `tailrace forward`") == len(names)
	}, patience, 100*tick)
}

// TestStatusOfOneOutboxByName, whose database is away or fine.
func TestStatusOfOneOutboxByName(t *testing.T) {
	t.Parallel()
	b := setup(t)
	code, output := run(t, nil, "status", "--outbox", "orders="+b.dsn)
	require.Zero(t, code, output)
	require.Regexp(t, `^outbox +orders\ntable +"public"."event_outbox"\nversion`, output)
	code, output = run(t, nil, "status", "--outbox", "orders="+b.dsn+"#missing")
	require.Equal(t, 1, code)
	require.Contains(t, output, "the DATABASE_URL of outbox orders")
	for _, address := range []string{"127.0.0.1:1", listenSilently(t)} {
		code, output = run(t, []string{"DATABASE_URL=postgres://app:s3cret@" + address + "/app?sslmode=disable"}, "status", "--timeout", "1s")
		require.Equal(t, 1, code)
		require.Contains(t, output, "the database ")
		require.NotContains(t, output, "s3cret")
	}
}

// listenSilently takes connections and never answers on them.
func listenSilently(t testing.TB) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

func keys[T any](all map[string]T) (names []string) {
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
