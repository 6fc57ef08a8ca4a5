package inbox

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tailrace-go/tailrace/bus"
)

const (
	// DefaultRetention is how long marks are kept.
	DefaultRetention = 7 * 24 * time.Hour
	// DefaultPurgeInterval is the time between two purges of [Inbox.Run].
	DefaultPurgeInterval = 10 * time.Minute
)

// Config is what an [Inbox] is made from. Only Bus must be set.
type Config struct {
	// Bus begins the transactions, on its Config.DB, and publishes in them. It needs no outbox table as
	// long as handlers publish nothing.
	Bus *bus.Bus
	// Table is the inbox table, "table" or "schema.table". Default: [DefaultTable].
	Table string
	// Retention is how long a mark is kept, default 7 days, negative for ever. It must be longer than the
	// time after which an event can still come again, by a requeue from the dead letters or by a consumer
	// group that is set back: after that, it is handled again. Where several inboxes share a table, the
	// shortest counts.
	Retention time.Duration
	// PurgeInterval is about how often Run purges; default 10 minutes.
	PurgeInterval time.Duration

	// Metrics registers tailrace_inbox_duplicates_total, by consumer, and tailrace_inbox_purged_rows_total.
	// Several inboxes on one Registerer count together. Default: none.
	Metrics prometheus.Registerer
	// Logger gets a line at debug level for a duplicate and at info level for a purge. Default: none.
	Logger *slog.Logger
}

// Inbox keeps handlers from handling an event twice. It is safe for concurrent use and has nothing to
// close; one serves any number of consumers.
type Inbox struct {
	config  Config
	table   table
	metrics *metrics
}

// New checks the configuration, reporting all mistakes at once, each wrapping [ErrConfig], and makes an
// Inbox. It connects to nothing and starts nothing: [Check] looks at the table.
func New(config Config) (*Inbox, error) {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...))
	}
	if config.Bus == nil {
		fault("Bus is not set: give the Bus with whose transactions the handlers work")
	} else if err := canTransact(config.Bus); err != nil {
		fault("Bus: %w", err)
	}
	t, err := parseTable(config.Table)
	if err != nil {
		fault("Table: %w", err)
	}
	if config.Retention > 0 && config.Retention < time.Minute {
		fault("Retention is %s: at least 1m, 0 for %s, or negative to keep all marks", config.Retention, DefaultRetention)
	}
	if config.PurgeInterval < 0 {
		fault("PurgeInterval is %s: it must be positive, or 0 for %s", config.PurgeInterval, DefaultPurgeInterval)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	config.Retention = cmp.Or(config.Retention, DefaultRetention)
	config.PurgeInterval = cmp.Or(config.PurgeInterval, DefaultPurgeInterval)
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	m, err := newMetrics(config.Metrics, t.given())
	if err != nil {
		return nil, err
	}
	return &Inbox{config: config, table: t, metrics: m}, nil
}

var errBound = errors.New("it is bound to a transaction: give the Bus that InTx was called on")

// canTransact tries it in a context that has ended, in which no connection is opened.
func canTransact(b *bus.Bus) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := b.Transact(ctx, func(context.Context, *sql.Tx) error { return errBound })
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
