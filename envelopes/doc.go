// Package envelopes says what an event looks like: its metadata, the three kinds and the custom one, and
// the JSON that every consumer reads.
//
// An event is a plain struct, [Audit], [Notification], [Domain] or [Custom], whose zero values tell the
// truth: an Audit is a success unless Failed, a Domain is version 1 unless told otherwise. [Encode]
// writes it as one JSON object:
//
//	{"metadata": {…}, "event_type": "…", "payload": {…}}
//
// with every field present, unset ones as null. [Decode] reads that back into an [Envelope], whose
// methods give the struct again. It also takes the defects that records of the older Python publisher
// can carry, and never loses a digit: what the caller put into event_data stays raw JSON until
// [DataAs] gives it a type.
//
// Whatever is wrong with an event, or with bytes that should be one, is an error that wraps [ErrInvalid]
// and names the field, never what was in it.
package envelopes
