// The blocks of docs/migrating.md have these around them.
package doc

import (
	"context"
	"database/sql"
	"time"

	"github.com/tailrace-go/tailrace/bus"
)

type Service struct{ bus *bus.Bus }

type Certificate struct {
	ID, DocumentNumber string
	CreatedAt          time.Time
}

func (s Service) store(context.Context, *sql.Tx, Certificate) error { return nil }
