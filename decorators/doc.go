// Package decorators publishes around what is there already: around functions, events that tell what a call
// did; around any Watermill publisher, what its messages need.
//
// # Functions
//
// A [Decorator] is made once a Bus. Its functions take a function and return one of the same type, which
// calls the original and publishes:
//
//	create, err := decorators.Audit(d, spec, id, users.Create) // an audit event of each call
//	create, err := decorators.Domain(d, spec, id, users.Create) // a domain event of each success
//	create, err := decorators.OnSuccess(d, spec, key, users.Create) // a custom event of each success
//	create, err := decorators.OnError(d, spec, key, users.Create) // a custom event of each failure
//
// Each comes in four shapes, by what the function has besides its context and its error: Audit for an input
// and a result, AuditIn for an input, AuditOut for a result, AuditRun for neither. The types are inferred,
// also of method values and of named function types. Since the type stays, they nest, and [Must] makes that
// one expression. A mistake in a spec is an error there and then.
//
// A call fails when it returns an error, when it panics (the event is published and the panic goes on), and
// when it ends its goroutine.
//
// # What is published, and when
//
// In a context with a transaction of the Bus ([bus.Bus.Transact], [bus.Bus.WithTx]) the event of a success
// is part of it: it is published exactly when the transaction commits, and if it cannot be written, the call
// fails with [ErrNotPublished]. Without one, the event is published after the call, also when the call's
// context has ended, within Config.Timeout; a [Policy] says whether the caller learns that it was not.
//
// The event of a failure tells of what is rolled back, so it is never part of the transaction: it is written
// once Transact's transaction has ended, and outside of one that somebody else began, on another connection
// of the pool. With a pool of one that connection is not to be had before the transaction ends: the write
// waits for Config.Timeout, and the event is lost, logged and counted. Give such a pool two connections, or
// use Transact.
//
// # What is in it
//
//	{"args": {…}, "result": …}                              after a success
//	{"args": {…}, "error": {"type": "…", "message": "…"}}   after a failure
//
// Args and result go through a [redact.Redactor], as they are after the call, and are within its limit
// together. So does the error's text, in which nothing stays that was left out of the args. What no name tells is not known to be secret: an
// input that is a mere string has to be given a name, ArgName in the spec, and a result ResultName. What an
// error quotes that is neither in the args nor written like password=… is published: wrap errors that do.
package decorators
