package watermillsql_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	wkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/forwarder"
	"github.com/tailrace-go/tailrace/forwarder/watermillsql"
)

// TestFrozenOwner: an owner freezes with a batch delivered and not recorded, and another one about to leave. A
// second one passes all; then the first wakes and goes on where it stood. The first batch comes twice, which
// nobody can help, and nothing else; the position never falls.
func TestFrozenOwner(t *testing.T) {
	t.Parallel()
	const keys, batch = 10, 30
	b := setup(t)
	b.broker.CreateTopic(t, orders, 3, nil)
	publish := func() (uuids []string) {
		var messages []*message.Message
		for i := range batch {
			messages = append(messages, b.message(fmt.Sprintf("k%d", i%keys)))
			uuids = append(uuids, messages[i].UUID)
		}
		require.NoError(t, b.inTx(orders, messages...))
		return uuids
	}
	frozen := newFreezer(b)
	first := b.forwarder(func(c *watermillsql.Config) { c.DB, c.Sender = frozen.db, frozen })
	b.run(first)
	t.Cleanup(frozen.thaw) // before the forwarder is stopped
	eventually(t, "the first owns", func() bool { return first.Status().State == forwarder.Owner })
	// The second must not be taken for frozen itself on a machine that stands still for a moment.
	second := b.forwarder(func(c *watermillsql.Config) { c.Lease = time.Minute })
	stop := b.run(second)
	eventually(t, "the second stands by", func() bool { return second.Status().State == forwarder.Standby })
	b.watchPosition()

	frozen.records.freeze()
	unrecorded := publish()
	eventually(t, "a batch is delivered", func() bool { return frozen.reported.Load() == batch })
	eventually(t, "it is about to be recorded", func() bool { return frozen.records.waiting.Load() == 1 })
	frozen.requests.freeze()
	publish()
	eventually(t, "another is about to leave", func() bool { return frozen.sent.Load() == 2*batch && frozen.requests.waiting.Load() > 0 })
	frozen.statements.freeze()
	require.Equal(t, forwarder.Owner, first.Status().State, "this machine stood still before the test had it freeze")
	require.Len(t, b.broker.Records(t, orders), batch)
	require.Equal(t, 2*batch, b.behind())

	eventually(t, "the second owns", func() bool { return second.Status().State == forwarder.Owner })
	publish()
	b.waitPassed()
	require.Equal(t, tally{sent: 3 * batch, delivered: 3 * batch, twice: batch}, b.count(orders))
	require.Equal(t, forwarder.Owner, first.Status().State, "it noticed while it was frozen")

	// The sender first: that the database tells the rest of the process must not be what holds it back.
	frozen.requests.thaw()
	eventually(t, "the sender of the first is done with what it had", func() bool { return frozen.reported.Load() == 2*batch })
	frozen.thaw()
	eventually(t, "the first stands by", func() bool {
		s := first.Status()
		return s.State == forwarder.Standby && s.Ready() == nil
	})
	publish()
	b.waitPassed()
	stop()
	require.Equal(t, tally{sent: 4 * batch, delivered: 4 * batch, twice: batch}, b.count(orders))
	seen, twice := map[string]bool{}, []string{}
	for _, record := range b.broker.Records(t, orders) {
		uuid, _ := record.Header(wkafka.UUIDHeaderKey)
		if seen[uuid] {
			twice = append(twice, uuid)
		}
		seen[uuid] = true
	}
	require.ElementsMatch(t, unrecorded, twice)
	moves, falls := b.moves()
	require.Positive(t, moves)
	require.Zero(t, falls, "of %d moves of the position", moves)
}

// watchPosition has the server write down where the position goes; moves counts that.
func (b *bundle) watchPosition() {
	b.t.Helper()
	b.exec(`CREATE TABLE positions (n bigserial, transaction_id xid8, "offset" bigint);
		CREATE FUNCTION note_position() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO positions (transaction_id, "offset") VALUES (NEW.last_processed_transaction_id, NEW.offset_acked);
			RETURN NULL;
		END $$;
		CREATE TRIGGER note_position AFTER INSERT OR UPDATE ON ` + b.offsets.MessagesOffsetsTable(b.topic) + ` FOR EACH ROW EXECUTE FUNCTION note_position()`)
}

func (b *bundle) moves() (moves, falls int) {
	b.t.Helper()
	require.NoError(b.t, b.db.QueryRow(`SELECT count(*), count(*) FILTER (WHERE fell) FROM (
		SELECT (transaction_id, "offset") < (lag(transaction_id) OVER w, lag("offset") OVER w) AS fell FROM positions WINDOW w AS (ORDER BY n)) moves`).Scan(&moves, &falls))
	return moves, falls
}

// freezer is the database and the sender of a process that can be frozen: nothing leaves it then, and it hears
// of nothing.
type freezer struct {
	delivery.Sender

	db     *sql.DB
	dialer net.Dialer
	// recording is how the statement begins that moves the position.
	recording []byte
	// records keeps these statements, requests those to the broker, and statements all others.
	records, requests, statements ice

	sent, reported atomic.Int64 // records
}

func newFreezer(b *bundle) *freezer {
	b.t.Helper()
	f := &freezer{recording: []byte("UPDATE " + b.offsets.MessagesOffsetsTable(b.topic))}
	connector, err := pq.NewConnector(b.dsn)
	require.NoError(b.t, err)
	connector.Dialer(f)
	f.db = sql.OpenDB(connector)
	b.t.Cleanup(func() { _ = f.db.Close() })
	sender, err := kafka.NewSender(kafka.SenderConfig{Config: kafka.Config{Brokers: b.broker.Brokers()}, Partitioner: kafka.FNV1a})
	require.NoError(b.t, err)
	b.t.Cleanup(func() { require.NoError(b.t, sender.Close()) })
	f.Sender = sender
	return f
}

func (f *freezer) thaw() {
	f.records.thaw()
	f.requests.thaw()
	f.statements.thaw()
}

func (f *freezer) Dial(network, address string) (net.Conn, error) {
	return f.DialContext(context.Background(), network, address)
}

func (f *freezer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return f.DialContext(ctx, network, address)
}

func (f *freezer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := f.dialer.DialContext(ctx, network, address)
	return &frozenConn{conn, f}, err
}

func (f *freezer) Stream(config delivery.StreamConfig) delivery.Stream {
	permit, report := config.Permit, config.Report
	config.Permit = func() bool {
		f.requests.pass()
		return permit()
	}
	config.Report = func(records []*delivery.Record, verdict delivery.Verdict) {
		report(records, verdict)
		f.reported.Add(int64(len(records)))
	}
	return &frozenStream{f.Sender.Stream(config), f}
}

type frozenStream struct {
	delivery.Stream
	*freezer
}

func (s *frozenStream) Send(records []*delivery.Record) {
	s.Stream.Send(records)
	s.sent.Add(int64(len(records)))
}

type frozenConn struct {
	net.Conn
	*freezer
}

func (c *frozenConn) Write(p []byte) (int, error) {
	if bytes.Contains(p, c.recording) {
		c.records.pass()
	}
	c.statements.pass()
	return c.Conn.Write(p)
}

func (c *frozenConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.statements.pass()
	return n, err
}

// ice keeps what comes by from going on while it is frozen.
type ice struct {
	waiting atomic.Int64

	mu     sync.Mutex
	thawed chan struct{}
}

func (i *ice) freeze() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.thawed = make(chan struct{})
}

func (i *ice) thaw() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.thawed != nil {
		close(i.thawed)
		i.thawed = nil
	}
}

func (i *ice) pass() {
	i.mu.Lock()
	thawed := i.thawed
	i.mu.Unlock()
	if thawed != nil {
		i.waiting.Add(1)
		<-thawed
		i.waiting.Add(-1)
	}
}
