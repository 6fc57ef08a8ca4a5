package bus_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/envelopes"
)

func TestEachPublisherStandsAlone(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := &recorder{}
	config := bus.Config{Service: "s", Publisher: r}

	audits, err := bus.NewAuditPublisher(config)
	require.NoError(t, err)
	notifications, err := bus.NewNotificationPublisher(config)
	require.NoError(t, err)
	domains, err := bus.NewDomainPublisher(config)
	require.NoError(t, err)

	_, err = audits.Publish(ctx, loggedIn())
	require.NoError(t, err)
	_, err = notifications.Publish(ctx, welcome("u"))
	require.NoError(t, err)
	ids, err := domains.PublishAll(ctx, userCreated("u"), userCreated("v"))
	require.NoError(t, err)
	require.Len(t, ids, 2)
	require.Equal(t, []string{"audit.events", "notification.events", "s.user.user_created", "s.user.user_created"},
		[]string{r.all[0].topic, r.all[1].topic, r.all[2].topic, r.all[3].topic})
	require.Equal(t, 3, r.calls)

	_, err = audits.InTx(unopened(t)).Publish(ctx, loggedIn())
	require.ErrorIs(t, err, bus.ErrNoOutbox)
	_, err = bus.NewDomainPublisher(bus.Config{})
	require.ErrorIs(t, err, bus.ErrConfig)
}

func TestABusHasThePublishersOfItsKinds(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b, r := direct(t)
	_, err := b.Audit().Publish(ctx, loggedIn())
	require.NoError(t, err)
	_, err = b.Notifications().Publish(ctx, welcome())
	require.NoError(t, err)
	_, err = b.Domain().Publish(ctx, userCreated("u"))
	require.NoError(t, err)
	var kinds []envelopes.Kind
	for _, s := range r.all {
		envelope, err := envelopes.Decode(s.msg.Payload)
		require.NoError(t, err)
		kinds = append(kinds, envelope.Kind())
	}
	require.Equal(t, []envelopes.Kind{envelopes.KindAudit, envelopes.KindNotification, envelopes.KindDomain}, kinds)
}
