package topics_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/topics"
)

var marty = topics.Naming{Prefix: "marty"}

func TestNames(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		name func() (string, error)
		want string
	}{
		"audit":                      {marty.Audit, "marty.audit.events"},
		"notification":               {marty.Notification, "marty.notification.events"},
		"dead letter":                {marty.DeadLetter, "marty.dead.letter.queue"},
		"no prefix, no leading dot":  {topics.Naming{}.Audit, "audit.events"},
		"a configured name":          {topics.Naming{Prefix: "p", AuditName: "log"}.Audit, "p.log"},
		"a configured notification":  {topics.Naming{NotificationName: "n"}.Notification, "n"},
		"a configured dead letter":   {topics.Naming{DeadLetterName: "d"}.DeadLetter, "d"},
		"domain":                     {domain("user-service", "user", "user_created"), "marty.user-service.user.user_created"},
		"domain: lower case":         {domain("User-Service", "User", "UserCreated"), "marty.User-Service.user.usercreated"},
		"custom":                     {custom(marty, "integration.events"), "marty.integration.events"},
		"custom: case is kept":       {custom(marty, "Integration"), "marty.Integration"},
		"a dot with a prefix":        {custom(marty, "."), "marty.."},
		"the longest":                {custom(topics.Naming{}, strings.Repeat("x", 249)), strings.Repeat("x", 249)},
		"the longest, with a prefix": {custom(marty, strings.Repeat("x", 243)), "marty." + strings.Repeat("x", 243)},
	} {
		got, err := c.name()
		require.NoError(t, err, what)
		require.Equal(t, c.want, got, what)
	}
}

func TestIllegalNamesSayWhichPartAndCharacter(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		name func() (string, error)
		want string
	}{
		"service with a space": {
			domain("user service", "user", "created"),
			`topics: service "user service" has ' ' at position 5: Kafka allows letters, digits, '.', '_' and '-'`,
		},
		"aggregate": {domain("users", "user/1", "created"), `aggregate type "user/1" has '/' at position 5`},
		"event type beyond ASCII": {
			domain("users", "user", "café"),
			`event type "café" has 'é' (U+00E9) at position 4`,
		},
		"Kelvin sign, which lower-cases to k": {domain("users", "\u212aing", "created"), "aggregate type \"\u212aing\" has '\u212a' (U+212A) at position 1"},
		"not UTF-8":                           {domain("users", "user", "a\xff"), `has the byte 0xff, which is not UTF-8, at position 2`},
		"NUL":                                 {custom(marty, "a\x00b"), `has '\x00' at position 2`},
		"empty service":                       {domain("", "user", "created"), "topics: service is empty"},
		"empty aggregate":                     {domain("users", "", "created"), "aggregate type is empty"},
		"empty event type":                    {domain("users", "user", ""), "event type is empty"},
		"empty custom":                        {custom(marty, ""), "topic is empty"},
		"a dot":                               {custom(topics.Naming{}, "."), `topic "." cannot be a topic name of its own`},
		"two dots":                            {custom(topics.Naming{}, ".."), `topic ".." cannot be a topic name of its own`},
		"250 characters": {
			custom(topics.Naming{}, strings.Repeat("x", 250)),
			"makes a topic name of 250 characters, Kafka allows 249: shorten it by 1",
		},
		"too long by its prefix": {custom(marty, strings.Repeat("x", 244)), "topic name of 250 characters"},
		"too long: the longest part is named": {
			domain("users", strings.Repeat("a", 240), "created"),
			"topics: aggregate type",
		},
		"a bad prefix":     {topics.Naming{Prefix: "a b"}.Audit, `prefix "a b" has ' ' at position 2`},
		"a bad audit name": {topics.Naming{AuditName: "a:b"}.Audit, `audit topic "a:b" has ':' at position 2`},
	} {
		_, err := c.name()
		require.ErrorIs(t, err, topics.ErrInvalid, what)
		require.ErrorContains(t, err, c.want, what)
	}
}

func TestNameErrorIsTyped(t *testing.T) {
	t.Parallel()
	_, err := marty.Domain("user service", "user", "created")
	var fault *topics.NameError
	require.ErrorAs(t, err, &fault)
	require.Equal(t, "service", fault.Part)
	require.Equal(t, "user service", fault.Value)
	require.Equal(t, ' ', fault.Character)
	require.Equal(t, 5, fault.Position)
}

func TestAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := marty.Domain("a b", "", "c/d")
	require.ErrorContains(t, err, "service")
	require.ErrorContains(t, err, "aggregate type")
	require.ErrorContains(t, err, "event type")

	err = topics.Naming{Prefix: "a b", AuditName: "c d", NotificationName: "e f", DeadLetterName: "g h"}.Validate()
	for _, part := range []string{"prefix", "audit topic", "notification topic", "dead-letter topic"} {
		require.Equal(t, 1, strings.Count(err.Error(), "topics: "+part), "%s in %s", part, err)
	}
	require.NoError(t, topics.Naming{}.Validate())
	require.NoError(t, marty.Validate())
}

func TestALongValueDoesNotFillTheError(t *testing.T) {
	t.Parallel()
	err := topics.Check(strings.Repeat("é", 5000))
	require.Error(t, err)
	require.Less(t, len(err.Error()), 300)
}

func FuzzNames(f *testing.F) {
	for _, seed := range [][4]string{
		{"marty", "user-service", "user", "user_created"},
		{"", "S", "A", "E"},
		{"", ".", "..", ""},
		{"p", "\xff", "\u212a", "é"},
		{strings.Repeat("x", 300), "a", "b", "c"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	// What Kafka accepts, written as its own source has it.
	kafka := regexp.MustCompile(`\A[a-zA-Z0-9._-]{1,249}\z`)
	accepted := func(name string) bool { return kafka.MatchString(name) && name != "." && name != ".." }
	f.Fuzz(func(t *testing.T, prefix, service, aggregate, eventType string) {
		naming := topics.Naming{Prefix: prefix, AuditName: service, NotificationName: aggregate, DeadLetterName: eventType}
		for _, name := range []func() (string, error){
			naming.Audit, naming.Notification, naming.DeadLetter,
			func() (string, error) { return naming.Domain(service, aggregate, eventType) },
			func() (string, error) { return naming.Custom(service) },
		} {
			got, err := name()
			if err != nil {
				require.ErrorIs(t, err, topics.ErrInvalid)
				require.Empty(t, got)
				continue
			}
			require.True(t, accepted(got), "%q", got)
		}
		require.Equal(t, accepted(service), topics.Check(service) == nil, "%q", service)
	})
}

func domain(service, aggregate, eventType string) func() (string, error) {
	return func() (string, error) { return marty.Domain(service, aggregate, eventType) }
}

func custom(naming topics.Naming, name string) func() (string, error) {
	return func() (string, error) { return naming.Custom(name) }
}
