// What docs/migrating.md shows as it was before has these around it.
package before

import (
	"context"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

type Service struct{ publisher message.Publisher }

type Certificate struct {
	ID, DocumentNumber string
	CreatedAt          time.Time
}

func (s Service) store(context.Context, Certificate) error { return nil }

func (s Service) publishEvent(topic string, payload map[string]any, key string) error { return nil }
