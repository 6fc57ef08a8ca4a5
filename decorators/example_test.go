package decorators_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/decorators"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/topics"
)

// UserService is a service as the examples decorate it: without a word about events.
type UserService struct{}

type NewUser struct {
	Email    string `json:"email"`
	Password string `json:"password"`
}

type User struct {
	ID    string `json:"user_id"`
	Email string `json:"email"`
}

func (UserService) Create(_ context.Context, in NewUser) (*User, error) {
	if in.Email == "" {
		return nil, errors.New("no email")
	}
	return &User{ID: "u-1", Email: in.Email}, nil
}

// example returns a Decorator, and what it publishes.
func example() (*decorators.Decorator, *bustest.Recorder) {
	recorder := &bustest.Recorder{}
	b, err := bus.New(bus.Config{Service: "user-service", Topics: topics.Naming{Prefix: "marty"}, Publisher: recorder})
	if err != nil {
		panic(err)
	}
	return decorators.Must(decorators.New(decorators.Config{Bus: b})), recorder
}

func show(recorder *bustest.Recorder) {
	for _, event := range recorder.Events() {
		key, _ := event.Key()
		fmt.Println(event.Topic, event.Envelope.EventType, key)
	}
}

// An audit event of each call, failed or not.
func ExampleAudit() {
	d, recorder := example()
	create, err := decorators.Audit(d, decorators.AuditSpec{
		EventType: envelopes.DataCreated, Action: "create_user", ResourceType: "user", IncludeArgs: true,
	}, func(in NewUser, _ *User) string { return in.Email }, UserService{}.Create)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, _ = create(context.Background(), NewUser{Email: "a@example.com", Password: "hunter2"})
	audit, _ := recorder.Events()[0].Envelope.Audit()
	fmt.Println(audit.Action, audit.ResourceID, audit.Failed)
	fmt.Printf("%s\n", audit.OperationDetails)
	// Output:
	// create_user a@example.com false
	// {"args":{"email":"a@example.com","password":"[redacted]"}}
}

// A domain event of each success; the aggregate's id comes from the result.
func ExampleDomain() {
	d, recorder := example()
	create, err := decorators.Domain(d, decorators.DomainSpec{
		AggregateType: "user", EventType: "user_created", OmitArgs: true, IncludeResult: true,
	}, func(_ NewUser, out *User) string { return out.ID }, UserService{}.Create)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, _ = create(context.Background(), NewUser{})
	_, _ = create(context.Background(), NewUser{Email: "a@example.com"})
	show(recorder)
	domain, _ := recorder.Events()[0].Envelope.Domain()
	fmt.Printf("%s\n", domain.EventData)
	// Output:
	// marty.user-service.user.user_created user_created u-1
	// {"result":{"user_id":"u-1","email":"a@example.com"}}
}

// The guide's login: one event of a success, another of a failure.
func ExampleOnSuccess() {
	type Login struct {
		UserID   string `json:"user_id"`
		Password string `json:"password"`
	}
	authenticate := func(_ context.Context, in Login) (bool, error) {
		if in.Password != "hunter2" {
			return false, fmt.Errorf("%s is not the password", in.Password)
		}
		return true, nil
	}
	d, recorder := example()
	login := decorators.Must(decorators.OnSuccess(d,
		decorators.SuccessSpec{Topic: "auth.events", EventType: "login_successful"}, func(in Login, _ bool) string { return in.UserID },
		decorators.Must(decorators.OnError(d,
			decorators.ErrorSpec{Topic: "auth.events", EventType: "login_failed"}, func(in Login) string { return in.UserID },
			authenticate))))

	_, _ = login(context.Background(), Login{"u-1", "hunter2"})
	_, err := login(context.Background(), Login{"u-1", "letmein"})
	fmt.Println(err)
	show(recorder)
	for _, event := range recorder.Events() {
		fmt.Printf("%s\n", event.Envelope.Payload)
	}
	// Output:
	// letmein is not the password
	// marty.auth.events login_successful u-1
	// marty.auth.events login_failed u-1
	// {"args":{"user_id":"u-1","password":"[redacted]"},"result":true}
	// {"args":{"user_id":"u-1","password":"[redacted]"},"error":{"type":"*errors.errorString","message":"[redacted] is not the password"}}
}

// A panic is a failure, too, and goes on.
func ExampleOnErrorRun() {
	d, recorder := example()
	job := decorators.Must(decorators.OnErrorRun(d, decorators.ErrorSpec{Topic: "jobs", EventType: "cleanup_failed"}, "cleanup",
		func(context.Context) error { panic("out of space") }))
	func() {
		defer func() { fmt.Println("recovered:", recover()) }()
		_ = job(context.Background())
	}()
	show(recorder)
	fmt.Printf("%s\n", recorder.Events()[0].Envelope.Payload)
	// Output:
	// recovered: out of space
	// marty.jobs cleanup_failed cleanup
	// {"args":{},"error":{"type":"panic","message":"panic: out of space"}}
}

// A function whose input is a mere string says what it is.
func ExampleAuditIn() {
	d, recorder := example()
	deleteUser := func(_ context.Context, id string) error { return nil }
	remove := decorators.Must(decorators.AuditIn(d, decorators.AuditSpec{
		EventType: envelopes.DataDeleted, Action: "delete_user", ResourceType: "user", IncludeArgs: true, ArgName: "user_id",
	}, func(id string) string { return id }, deleteUser))
	_ = remove(context.Background(), "u-1")
	audit, _ := recorder.Events()[0].Envelope.Audit()
	fmt.Printf("%s %s\n", audit.ResourceID, audit.OperationDetails)
	// Output:
	// u-1 {"args":{"user_id":"u-1"}}
}

// All mistakes of a spec are reported at once, before any call.
func ExampleMust() {
	d, _ := example()
	_, err := decorators.DomainRun(d, decorators.DomainSpec{AggregateType: "us er", EventType: "cleaned"}, "", func(context.Context) error { return nil })
	fmt.Println(err)
	// Output:
	// decorators: invalid configuration: DomainSpec: there is no aggregate id, which a domain event must have: give a function, or for DomainRun the id
	// decorators: invalid configuration: DomainSpec: topics: aggregate type "us er" has ' ' at position 3: Kafka allows letters, digits, '.', '_' and '-'
}
