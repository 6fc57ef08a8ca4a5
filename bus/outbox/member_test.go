package outbox_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

// TestCensusShowsWhoIsThereAndOwnsWhat: members, their claims, claims outside the group, and those of other
// groups and databases.
func TestCensusShowsWhoIsThereAndOwnsWhat(t *testing.T) {
	t.Parallel()
	b, other := setup(t), setup(t)
	stores := map[string]*outbox.Store{}
	for _, table := range []string{"event_outbox", "second", "third", "fourth"} {
		_, err := outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{Table: table})
		require.NoError(t, err)
		stores[table], err = outbox.NewStore(b.db, table)
		require.NoError(t, err)
	}
	join := func(group string, number uint32) *outbox.Member {
		m, err := outbox.Join(b.ctx, b.db, outbox.Membership{Group: group, Number: number}, time.Minute)
		require.NoError(t, err)
		t.Cleanup(m.Leave)
		return m
	}
	const high = 1<<32 - 2 // as pg_locks shows it, not as an int
	me, you := join("g", high), join("g", 7)
	join("another", 8)
	_, err := outbox.Join(b.ctx, b.db, outbox.Membership{Group: "g", Number: 7}, time.Minute)
	require.ErrorIs(t, err, outbox.ErrNumberTaken)
	elsewhere, err := outbox.Join(b.ctx, other.db, outbox.Membership{Group: "g", Number: 7}, time.Minute)
	require.NoError(t, err, "a number is taken in its database only")
	t.Cleanup(elsewhere.Leave)

	tables := []string{"public.event_outbox", "second", "third", "no_such_table"}
	claim := func(table string, number uint32) *outbox.Claim {
		c, err := stores[table].ClaimAs(b.ctx, "someone", time.Minute, outbox.Membership{Group: "g", Number: number})
		require.NoError(t, err)
		return c
	}
	mine := claim("event_outbox", high)
	claim("fourth", 7)
	outside, err := stores["second"].Claim(b.ctx, "outside", time.Minute)
	require.NoError(t, err)
	_, err = stores["second"].ClaimAs(b.ctx, "late", time.Minute, outbox.Membership{Group: "g", Number: 7})
	require.ErrorIs(t, err, outbox.ErrOwned)

	// The session of the claim that came too late may take a moment to end.
	require.Eventually(t, func() bool {
		c, err := me.Census(b.ctx, tables)
		require.NoError(t, err)
		require.ElementsMatch(t, []uint32{high, 7}, c.Members)
		require.Equal(t, map[string]uint32{"public.event_outbox": high, "second": 0}, c.Owners)
		outsider, err := outbox.LookAtGroup(b.ctx, b.db, "g", tables)
		require.NoError(t, err)
		require.ElementsMatch(t, c.Members, outsider.Members)
		require.Equal(t, c.Owners, outsider.Owners)
		return c.Others[7] == 1 && len(c.Others) == 1
	}, 30*time.Second, 10*time.Millisecond)

	require.NoError(t, mine.Release(b.ctx))
	require.NoError(t, outside.Release(b.ctx))
	me.Leave()
	require.Eventually(t, func() bool {
		c, err := you.Census(b.ctx, tables)
		require.NoError(t, err)
		return len(c.Owners) == 0 && len(c.Members) == 1 && c.Members[0] == 7
	}, 30*time.Second, 10*time.Millisecond)
	_, err = me.Census(b.ctx, tables)
	require.Error(t, err)
}

// TestTheServerForgetsAFrozenMember: one that does not ask for longer than the lease.
func TestTheServerForgetsAFrozenMember(t *testing.T) {
	t.Parallel()
	b := setup(t)
	frozen, err := outbox.Join(b.ctx, b.db, outbox.Membership{Group: "g", Number: 1}, 300*time.Millisecond)
	require.NoError(t, err)
	defer frozen.Leave()
	awake, err := outbox.Join(b.ctx, b.db, outbox.Membership{Group: "g", Number: 2}, time.Minute)
	require.NoError(t, err)
	defer awake.Leave()
	require.Eventually(t, func() bool {
		c, err := awake.Census(b.ctx, nil)
		require.NoError(t, err)
		return len(c.Members) == 1 && c.Members[0] == 2
	}, 30*time.Second, 10*time.Millisecond)
	_, err = frozen.Census(b.ctx, nil)
	require.Error(t, err)
}

// TestAClaimIsFreedWheneverItsProcessFreezes: the server watches a claim's connection before the lock is taken,
// so that there is no moment at which a process could freeze and keep it.
func TestAClaimIsFreedWheneverItsProcessFreezes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	store, err := outbox.NewStore(b.db, "")
	require.NoError(t, err)
	claim, err := store.ClaimAs(b.ctx, "frozen", 300*time.Millisecond, outbox.Membership{Group: "g", Number: 1})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		next, err := store.Claim(b.ctx, "next", time.Minute)
		if err == nil {
			require.NoError(t, next.Release(b.ctx))
		}
		return err == nil
	}, 30*time.Second, 10*time.Millisecond)
	require.False(t, claim.Valid())
}
