package redact_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/envelopes/redact"
)

type login struct {
	UserID   string `json:"user_id"`
	Password string `json:"password"`
	Remember bool   `json:"remember"`
	Attempt  int    `json:"attempt"`
}

type patient struct {
	ID        string   `json:"id"`
	Diagnosis string   `json:"diagnosis" redact:"true"`
	Visits    []int    `json:"visits"`
	Contact   *contact `json:"contact"`
}

type contact struct {
	Email string `json:"email"`
	Phone string `json:"phone" redact:"true"`
}

var values = map[string]any{
	"plain":   struct{ ID, Email string }{"u-1", "user@example.com"},
	"login":   login{"u-1", "hunter2", true, 1},
	"tags":    &patient{"p-1", "flu", []int{1, 2, 3}, &contact{"user@example.com", "555"}},
	"any map": map[string]any{"id": "u-1", "who": contact{"user@example.com", "555"}, "token": "t", "n": 1},
}

// BenchmarkJSON compares, in one run, JSON with json.Marshal of the same value.
func BenchmarkJSON(b *testing.B) {
	for name, value := range values {
		b.Run(name+"/encoding-json", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := json.Marshal(value); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/redact", func(b *testing.B) {
			r := redact.Default()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.JSON(value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRaw(b *testing.B) {
	for name, value := range values {
		data, err := json.Marshal(value)
		require.NoError(b, err)
		b.Run(name, func(b *testing.B) {
			r := redact.Default()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Raw(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestRedactingAllocatesNoMoreThanEncoding(t *testing.T) {
	for _, name := range []string{"plain", "login", "tags"} {
		r, value := redact.Default(), values[name]
		plain := testing.AllocsPerRun(200, func() { _, _ = json.Marshal(value) })
		redacting := testing.AllocsPerRun(200, func() { _, _ = r.JSON(value) })
		// The race detector makes a sync.Pool forget at random.
		require.LessOrEqual(t, redacting, plain+3, name)
	}
}
