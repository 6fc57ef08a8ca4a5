package inbox_test

import (
	"database/sql"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/inbox"
)

// A handler that fails and leaves its rows open did so itself: the message must not be kept for ever. pgx
// says of a statement meanwhile what it says of a lost connection.
func TestOpenRowsAreNoOutage(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{"postgres", "pgx"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			db, err := sql.Open(driver, b.dsn)
			require.NoError(t, err)
			t.Cleanup(func() { _ = db.Close() })
			with := bundle{db: db, bus: newBus(t, db), ctx: b.ctx}
			x := with.inbox(t, inbox.Config{})
			err = x.Once("mailer", func(msg *message.Message) error {
				tx, _ := with.bus.SQLTxFrom(msg.Context())
				rows, err := tx.QueryContext(msg.Context(), `SELECT generate_series(1, 100000)`) //nolint:rowserrcheck,sqlclosecheck // The fault that is shown.
				require.NoError(t, err)
				require.True(t, rows.Next())
				return errBoom
			})(newMessage())
			require.ErrorIs(t, err, errBoom)
			require.NotErrorIs(t, err, consumer.ErrOutage)

			err = x.Once("mailer", func(msg *message.Message) error {
				tx, _ := with.bus.SQLTxFrom(msg.Context())
				_, _ = tx.ExecContext(msg.Context(), `SELECT pg_terminate_backend(pg_backend_pid())`)
				return errBoom
			})(newMessage())
			require.ErrorIs(t, err, consumer.ErrOutage, "this is one")
			require.Equal(t, [3]int{}, b.stays(t))
		})
	}
}
