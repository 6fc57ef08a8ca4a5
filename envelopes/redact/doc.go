// Package redact keeps secrets out of events: it encodes a value as JSON and leaves out what must not
// leave the service.
//
//	data, err := redact.Default().JSON(request)   // {"user_id":"u-1","password":"[redacted]"}
//
// # What is secret
//
// A struct field tagged `redact:"true"`, and every struct field, by its name in JSON or in Go, and map key
// whose name says so: password, secret, token, api key, authorization, ssn, card number, cvv and their like,
// however the name is written (apiKey, api_key, X-Api-Key, apikey), at any depth, whatever its value is. Config.Names adds names of
// your own, Config.Except takes some out. Names are compared word by word: className is not an ssn, and a
// secretary is no secret.
//
// Tags count wherever encoding/json goes: in embedded structs, pointers, slices, maps, and values in
// interfaces. A type that encodes itself (json.Marshaler, encoding.TextMarshaler) may call its fields as it
// likes, so within it every name counts that a tagged field of it has, or a field of that, as Go's name or
// as JSON's; and where it has tagged fields but writes a text, a number, a list or a map's key, where no
// name tells them apart, that is left out as a whole.
//
// What no name tells cannot be known: a password that is the text of a field called "note", or JSON inside
// a string. [Redactor.Text] is for error messages: it also removes from them what was left out of the
// values they are about.
//
// # What is too large
//
// Config.Limit bounds the result. What is longer is cut, never refused: long strings and long lists first,
// so that what is small survives. The result is JSON in any case, and says how much is missing:
//
//	"Lorem ipsum… [20312 bytes left out]"
//	[1, 2, 3, "[588877 bytes left out]"]
//	{"id": 7, "[cut]": "[1024 bytes left out]"}
package redact
