package main

import (
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

func TestOutboxesAreThoseOfAllSettings(t *testing.T) {
	t.Parallel()
	s := &outboxSettings{}
	cmd := &cobra.Command{}
	s.shareOutboxes(cmd)
	require.NoError(t, cmd.ParseFlags([]string{
		"--table", "event_outbox, billing.event_outbox",
		"--outbox", "orders=postgres://app:s3cret@orders-db/orders", "--outbox", "stock=postgres://app:s3cret@stock-db/stock#warehouse.outbox",
	}))
	_, all, err := s.outboxes(cmd.Flags(), map[string]string{"DATABASE_URL": "postgres://app:s3cret@db/app"})
	require.NoError(t, err)
	var places [][2]string
	for _, one := range all {
		places = append(places, [2]string{one.name, one.table})
	}
	require.Equal(t, [][2]string{{"event_outbox", "event_outbox"}, {"billing.event_outbox", "billing.event_outbox"}, {"orders", "event_outbox"}, {"stock", "warehouse.outbox"}}, places)
	require.NotContains(t, all.String(), "s3cret")
}

func TestBadOutboxesAreRefusedWithoutTheirSecrets(t *testing.T) {
	t.Parallel()
	for given, says := range map[string]string{
		"postgres://app:s3cret@db/app":                                                "must be name=postgres://",
		"a b=postgres://app:s3cret@db/app":                                            "outbox 1 must be name=",
		"a=app:s3cret@db":                                                             "outbox 1 must be name=",
		"a=postgres://app:s3cret@db/app#no-such-name!":                                "outbox a: ",
		"a=postgres://app:s3cret@db:port/app":                                         "outbox a: ",
		"a=postgres://app:s3cret@db/app a=postgres://app:s3cret@db/other":             "two outboxes are called a",
		"a=postgres://app:s3cret@db/app\nb=postgres://app:s3cret@db/app#event_outbox": "stands there twice",
	} {
		s := &outboxSettings{}
		cmd := &cobra.Command{}
		s.shareOutboxes(cmd)
		_, _, err := s.outboxes(cmd.Flags(), map[string]string{"TAILRACE_OUTBOXES": given})
		require.ErrorContains(t, err, says, given)
		require.NotContains(t, err.Error(), "s3cret", given)
	}
}
