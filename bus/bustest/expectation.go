package bustest

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/tailrace-go/tailrace/envelopes"
)

// Expectation is what a test asks of an event; what it does not mention may be anything. [Like] makes
// one, and its methods return copies that ask for more.
type Expectation struct {
	event   envelopes.Event
	topic   *string
	key     *string
	headers map[string]string
}

// Like expects an event of the kind of the one given, with the same in every field that is set there.
// Values of any type are compared as JSON: of an object, what is given must be there, so a map asks for
// some fields and a struct for all of its own; a list must be the same.
//
// A custom event's Topic may leave out the prefix. For a condition that no value says, use a function
// with [Require].
func Like(event envelopes.Event) Expectation { return Expectation{event: event} }

// On expects that topic, complete with prefix.
func (e Expectation) On(topic string) Expectation {
	e.topic = &topic
	return e
}

// Keyed expects that record key, "" for none.
func (e Expectation) Keyed(key string) Expectation {
	e.key = &key
	return e
}

// With expects that field of the message's metadata, which becomes a record header.
func (e Expectation) With(header, value string) Expectation {
	e.headers = maps.Clone(e.headers)
	if e.headers == nil {
		e.headers = map[string]string{}
	}
	e.headers[header] = value
	return e
}

// String says in a few words what is expected.
func (e Expectation) String() string {
	if e.event == nil {
		return "event that is nil"
	}
	var about []string
	describe := func(name, value string) {
		if value != "" {
			about = append(about, name+" "+value)
		}
	}
	switch event := e.event.(type) {
	case envelopes.Domain:
		describe("of", strings.TrimSpace(event.AggregateType+" "+event.AggregateID))
	case envelopes.Audit:
		describe("of", strings.TrimSpace(event.ResourceType+" "+event.ResourceID))
	case envelopes.Notification:
		describe("to", strings.TrimSpace(string(event.RecipientType)+" "+strings.Join(event.RecipientIDs, " ")))
	case envelopes.Custom:
		describe("on", event.Topic)
		describe("with key", event.Key)
	}
	if e.topic != nil {
		describe("on", *e.topic)
	}
	if e.key != nil {
		describe("with key", fmt.Sprintf("%q", *e.key))
	}
	description := e.event.Describe()
	name := strings.TrimSpace(named[description.Kind] + " " + description.EventType)
	return strings.Join(append([]string{name}, about...), " ")
}

var named = map[envelopes.Kind]string{
	envelopes.KindDomain: "domain event", envelopes.KindAudit: "audit event",
	envelopes.KindNotification: "notification", envelopes.KindCustom: "custom event",
}

// judge returns what is wrong with p: nil if nothing is, and no lines if it is another kind of event.
func (e Expectation) judge(p Published) []string {
	have, ok := as(e.event, p)
	if !ok {
		return []string{}
	}
	found := differences("", reflect.ValueOf(e.event), reflect.ValueOf(have))
	if custom, ok := e.event.(envelopes.Custom); ok && strings.HasSuffix(p.Topic, "."+custom.Topic) {
		found = slices.DeleteFunc(found, func(line string) bool { return strings.HasPrefix(line, "Topic: ") })
	}
	if e.topic != nil && *e.topic != p.Topic {
		found = append(found, differ("topic", show(p.Topic), show(*e.topic)))
	}
	if e.key != nil {
		if key, _ := p.Key(); key != *e.key {
			found = append(found, differ("key", show(key), show(*e.key)))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.headers)) {
		if value, ok := p.Message.Metadata[name]; !ok || value != e.headers[name] {
			is := show(value)
			if !ok {
				is = "missing"
			}
			found = append(found, differ("header "+name, is, show(e.headers[name])))
		}
	}
	if len(found) == 0 {
		return nil
	}
	return found
}

// as decodes p as an event of want's kind, if it is one.
func as(want envelopes.Event, p Published) (have envelopes.Event, ok bool) {
	if want == nil || p.Err != nil || p.Envelope.Kind() != want.Describe().Kind {
		return nil, false
	}
	var err error
	switch want.(type) {
	case envelopes.Domain:
		have, err = p.Envelope.Domain()
	case envelopes.Audit:
		have, err = p.Envelope.Audit()
	case envelopes.Notification:
		have, err = p.Envelope.Notification()
	case envelopes.Custom:
		have = p.custom()
	default:
		return nil, false
	}
	return have, err == nil
}

// custom has the topic and key that the envelope has not.
func (p Published) custom() envelopes.Custom {
	event := p.Envelope.Custom()
	event.Topic = p.Topic
	event.Key, _ = p.Key()
	return event
}
