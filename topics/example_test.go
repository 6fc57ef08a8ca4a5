package topics_test

import (
	"errors"
	"fmt"

	"github.com/tailrace-go/tailrace/topics"
)

func ExampleNaming() {
	naming := topics.Naming{Prefix: "marty"}
	audit, _ := naming.Audit()
	domain, _ := naming.Domain("user-service", "User", "user_created")
	custom, _ := naming.Custom("integration.events")
	fmt.Println(audit)
	fmt.Println(domain)
	fmt.Println(custom)
	// Output:
	// marty.audit.events
	// marty.user-service.user.user_created
	// marty.integration.events
}

func ExampleNameError() {
	_, err := topics.Naming{Prefix: "marty"}.Domain("user service", "user", "user_created")
	var fault *topics.NameError
	if errors.As(err, &fault) {
		fmt.Printf("%s: %q at %d\n", fault.Part, fault.Character, fault.Position)
	}
	fmt.Println(err)
	// Output:
	// service: ' ' at 5
	// topics: service "user service" has ' ' at position 5: Kafka allows letters, digits, '.', '_' and '-'
}

func ExampleCheck() {
	fmt.Println(topics.Check("marty.audit.events"))
	fmt.Println(topics.Check("marty audit"))
	// Output:
	// <nil>
	// topics: topic "marty audit" has ' ' at position 6: Kafka allows letters, digits, '.', '_' and '-'
}
