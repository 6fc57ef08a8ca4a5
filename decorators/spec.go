package decorators

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/tailrace-go/tailrace/envelopes"
)

// faults collects what is wrong with a spec.
type faults struct {
	of  string
	all []error
}

func (f *faults) addf(format string, args ...any) {
	f.all = append(f.all, fmt.Errorf("%w: "+f.of+": "+format, append([]any{ErrConfig}, args...)...))
}

func (f *faults) required(field, value, cure string) {
	if value == "" {
		f.addf("%s is empty: %s", field, cure)
	}
}

func (f *faults) check(err error) {
	if err != nil {
		f.addf("%w", err)
	}
}

// event checks what an event made by the spec would be refused for. What is empty is reported already.
func (f *faults) event(event envelopes.Event) { f.check(envelopes.Validate(event)) }

// custom checks what the specs of custom events have in common.
func (f *faults) custom(d *Decorator, topic, eventType string, priority envelopes.Priority) {
	f.required("EventType", eventType, `say what has happened, for instance "login_failed"`)
	f.event(envelopes.Custom{Metadata: sample(priority), EventType: cmp.Or(eventType, "-")})
	if d == nil {
		f.required("Topic", topic, `say where the event goes, for instance "auth.events"`)
		return
	}
	_, err := d.bus.Topics().Custom(topic)
	f.check(err)
}

func (f *faults) policy(p Policy) {
	if p > PolicyReturn {
		f.addf("Policy is %d: give PolicyLog, PolicyReturn or nothing", p)
	}
}

// call checks what any function is decorated with, and says whether there is a Bus to ask for more.
func (f *faults) call(d *Decorator, missing bool) bool {
	if d == nil {
		f.addf("the Decorator is nil: make one with New")
	}
	if missing {
		f.addf("the function is nil: give the one to decorate")
	}
	return d != nil
}

func (f *faults) err() error { return errors.Join(f.all...) }

// sample is metadata that nothing is wrong with.
func sample(priority envelopes.Priority) envelopes.Metadata {
	return envelopes.Metadata{EventID: "-", Timestamp: time.Unix(0, 0), ServiceName: "-", Priority: priority}
}
