// Package settings completes and checks what the configurations of this room's forwarders have in common.
package settings

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tailrace-go/tailrace/topics"
)

// Faults are the mistakes in a configuration, to be reported at once. The zero value has none.
type Faults struct{ all []error }

// If adds a mistake if it is one.
func (f *Faults) If(bad bool, format string, args ...any) {
	if bad {
		f.Add(fmt.Errorf(format, args...))
	}
}

// Add adds a mistake, unless it is nil.
func (f *Faults) Add(mistake error) {
	if mistake != nil {
		f.all = append(f.all, mistake)
	}
}

// Err is nil if there are none, and else has all of them behind the name of the package whose they are.
func (f *Faults) Err(pkg string) error {
	if len(f.all) == 0 {
		return nil
	}
	return fmt.Errorf("%s: bad configuration: %w", pkg, errors.Join(f.all...))
}

// Duration completes a field, which must not be negative.
func (f *Faults) Duration(name string, value *time.Duration, otherwise time.Duration) {
	f.If(*value < 0, "%s is %v: it must be positive, or 0 for the default of %v", name, *value, otherwise)
	*value = cmp.Or(*value, otherwise)
}

// DB checks that there is a database, which holds what is said, and that it has as many connections as are
// held at once.
func (f *Faults) DB(db *sql.DB, holds string, connections int) {
	f.If(db == nil, "DB is nil: pass the *sql.DB that holds %s", holds)
	if db != nil {
		most := db.Stats().MaxOpenConnections
		f.If(most > 0 && most < connections, "DB may open %d connections, the forwarder needs %d: SetMaxOpenConns(%d) or more", most, connections, connections)
	}
}

// Window completes how much is read at once and in advance. maxBatch bounds the former.
func (f *Faults) Window(batch, window *int, bytes *int64, maxBatch, defaultWindow int) {
	f.If(*batch < 0 || *batch > maxBatch, "BatchSize is %d: it must be between 1 and %d, or 0 for the default", *batch, maxBatch)
	f.If(*window < 0, "Window is %d: it must be positive, or 0 for the default", *window)
	f.If(*bytes < 0, "WindowBytes is %d: it must be positive, or 0 for the default", *bytes)
	*batch = cmp.Or(*batch, 2000)
	*window = cmp.Or(*window, defaultWindow)
	*bytes = cmp.Or(*bytes, 64<<20)
}

// DeadLetterTopic completes the topic's name.
func (f *Faults) DeadLetterTopic(topic *string) {
	*topic = cmp.Or(*topic, "marty.dead.letter.queue")
	if err := topics.Check(*topic); err != nil {
		f.Add(fmt.Errorf("DeadLetterTopic: %w", err))
	}
}

// Owner is the name of this process, host:pid, unless there is one.
func Owner(name string) string {
	if name != "" {
		return name
	}
	host, _ := os.Hostname()
	return fmt.Sprintf("%s:%d", cmp.Or(host, "localhost"), os.Getpid())
}
