package redact_test

import (
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/envelopes/redact"
)

type (
	named struct {
		Name string `json:"name" redact:"true"`
		Town string `json:"town"`
	}
	base struct {
		Diagnosis string `redact:"true"`
		Ward      int
	}
	Around struct {
		base
		Name string
	}
	hidden struct {
		named
		Name string `json:"name"`
	}
	whole struct {
		base `redact:"true"`
		Kept int
	}
	pointed struct {
		*named
		Next *pointed `json:"next,omitempty"`
	}
	lists struct {
		Slice []named
		Array [1]named
		Map   map[string]*named
		Deep  map[int][][]*named
	}
	boxed struct {
		Box any
		All []any
		Of  map[string]any
	}
	// itself encodes itself, calling its field otherwise.
	itself struct {
		number string `redact:"true"`
		Holder any
	}
	viaPointer struct {
		Key string `redact:"true"`
	}
	list []any
	// textual, quoted and listed write what nothing names.
	textual struct {
		User string
		Pass string `redact:"true"`
	}
	quoted   textual
	listed   struct{ *textual }
	inText   struct{ textual }
	allNamed []named
	// flat writes a tagged struct's field without it.
	flat struct {
		Card struct{ Digits string } `redact:"true"`
		Born struct{ time.Time }
	}
	// mixed has the same type tagged and not.
	mixed struct {
		Open   plainWard
		Closed plainWard `redact:"true"`
	}
	plainWard struct{ Ward string }
	otherName struct {
		Password string `json:"p"`
		APIKey   string `json:"k"`
		UserID   string `json:"user_id"`
		Holder   any    `json:"holder"`
	}
)

func (t textual) MarshalText() ([]byte, error)  { return []byte(t.User + ":" + t.Pass), nil }
func (q quoted) MarshalJSON() ([]byte, error)   { return json.Marshal(q.User + ":" + q.Pass) }
func (l listed) MarshalJSON() ([]byte, error)   { return json.Marshal([]string{l.User, l.Pass}) }
func (l allNamed) MarshalJSON() ([]byte, error) { return json.Marshal([]named(l)) }
func (f flat) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{"digits": f.Card.Digits, "born": f.Born, "name": "kept"})
}

func (m mixed) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{"ward": m.Closed.Ward})
}

func (i itself) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{"Number": i.number, "holder": i.Holder, "name": "kept?"})
}

func (v *viaPointer) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{"KEY": v.Key, "kept": 1})
}

func (l list) MarshalJSON() ([]byte, error) { return json.Marshal(map[string]any{"items": []any(l)}) }

type textKey struct{ id int }

func (k textKey) MarshalText() ([]byte, error) { return []byte{'k', byte('0' + k.id%2)}, nil }

func TestWhatIsLeftOut(t *testing.T) {
	t.Parallel()
	secret := named{"S3CRET", "Ulm"}
	hides := `{"name":"[redacted]","town":"Ulm"}`
	for _, c := range []struct {
		shows string
		value any
		want  string
	}{
		{"a tagged field", secret, hides},
		{"behind a pointer", &secret, hides},
		{"a nil pointer", (*named)(nil), `null`},
		{"promoted from an embedded struct", Around{base{"S3CRET", 3}, "kept"}, `{"Diagnosis":"[redacted]","Ward":3,"Name":"kept"}`},
		{"a field that hides a tagged one is its own", hidden{secret, "kept"}, `{"town":"Ulm","name":"kept"}`},
		{"a tag on an embedded struct is one on each field", whole{base{"S3CRET", 3}, 1}, `{"Diagnosis":"[redacted]","Ward":"[redacted]","Kept":1}`},
		{"a type within itself", pointed{&secret, &pointed{nil, &pointed{&secret, nil}}}, `{"name":"[redacted]","town":"Ulm","next":{"next":` + hides + `}}`},
		{
			"in slices, arrays and maps",
			lists{[]named{secret}, [1]named{secret}, map[string]*named{"a": &secret, "b": nil}, map[int][][]*named{1: {nil, {nil, &secret}}}},
			`{"Slice":[` + hides + `],"Array":[` + hides + `],"Map":{"a":` + hides + `,"b":null},"Deep":{"1":[null,[null,` + hides + `]]}}`,
		},
		{
			"in interfaces, beside what has the same names and is not tagged",
			boxed{secret, []any{1, "x", &secret, map[string]string{"name": "kept"}}, map[string]any{"a": []any{secret}, "name": nil, "b": time.Time{}}},
			`{"Box":` + hides + `,"All":[1,"x",` + hides + `,{"name":"kept"}],"Of":{"a":[` + hides + `],"b":"0001-01-01T00:00:00Z","name":null}}`,
		},
		{"interfaces in interfaces", []any{[]any{boxed{Box: &boxed{Box: secret}}}}, `[[{"Box":{"Box":` + hides + `,"All":null,"Of":null},"All":null,"Of":null}]]`},
		{"keys that are numbers", map[int8]any{-3: secret}, `{"-3":` + hides + `}`},
		{"keys that are unsigned", map[uint64]any{math.MaxUint64: secret}, `{"18446744073709551615":` + hides + `}`},
		{"keys that encode themselves", map[textKey]any{{1}: secret, {2}: 1}, `{"k0":1,"k1":` + hides + `}`},
		{"keys that are not UTF-8", map[string]any{"\xff": secret, "a": 1}, `{"a":1,"\ufffd":` + hides + `}`},
		{"keys that become one", map[textKey]any{{1}: secret, {3}: secret}, `{"k1":` + hides + `,"k1":` + hides + `}`},
		{"a type that encodes itself", itself{"S3CRET", nil}, `{"Number":"[redacted]","holder":null,"name":"kept?"}`},
		{"and holds what is tagged", itself{"S3CRET", []any{secret}}, `{"Number":"[redacted]","holder":[` + hides + `],"name":"[redacted]"}`},
		{"a pointer that encodes itself", []*viaPointer{{"S3CRET"}}, `[{"KEY":"[redacted]","kept":1}]`},
		{"the same by value", []any{viaPointer{"S3CRET"}}, `[{"Key":"[redacted]"}]`},
		{"a list that encodes itself", list{1, secret}, `{"items":[1,` + hides + `]}`},
		{"a text that a type writes, at any depth", []any{textual{"u", "S3CRET"}, &textual{"u", "S3CRET"}, inText{textual{"u", "S3CRET"}}, map[string]quoted{"x": {"u", "S3CRET"}}}, `["[redacted]","[redacted]","[redacted]",{"x":"[redacted]"}]`},
		{"a list that a type writes, if what is tagged is its own", []any{listed{&textual{"u", "S3CRET"}}, allNamed{secret}}, `["[redacted]",[` + hides + `]]`},
		{"a text that is a key", map[textual]int{{"u", "S3CRET"}: 1}, `{"[redacted]":1}`},
		{"a nil pointer to what writes a text", []*textual{nil}, `[null]`},
		{"the fields of a tagged field, in a type that encodes itself", flat{Card: struct{ Digits string }{"S3CRET"}}, `{"born":"0001-01-01T00:00:00Z","digits":"[redacted]","name":"kept"}`},
		{"a type that is tagged in one place and not in another", mixed{plainWard{"1"}, plainWard{"S3CRET"}}, `{"ward":"[redacted]"}`},
		{"a field whose name in Go says secret", []any{otherName{"S3CRET", "S3CRET", "kept", &otherName{Password: "S3CRET"}}}, `[{"p":"[redacted]","k":"[redacted]","user_id":"kept","holder":{"p":"[redacted]","k":"[redacted]","user_id":"","holder":null}}]`},
		{"names in maps, whatever the value", map[string]any{"a": map[string]any{"password": []int{1}, "token": nil, "ssn": 1.5, "cvv": map[string]int{}, "secret": true}}, `{"a":{"cvv":"[redacted]","password":"[redacted]","secret":"[redacted]","ssn":"[redacted]","token":"[redacted]"}}`},
		{"names in JSON given as it is", json.RawMessage(`{ "password" : "S3CRET", "p\u0061ssword":"S3CRET","a":[ {"api_key":{"x":"S3CRET"}} ] }`), `{"password":"[redacted]","p\u0061ssword":"[redacted]","a":[{"api_key":"[redacted]"}]}`},
		{"numbers keep their digits", map[string]any{"n": json.Number("9007199254740993.10"), "u": uint64(math.MaxUint64), "password": 1}, `{"n":9007199254740993.10,"password":"[redacted]","u":18446744073709551615}`},
		{"duplicates and their order are kept", json.RawMessage(`{"b":1,"password":2,"a":3,"b":4,"password":5}`), `{"b":1,"password":"[redacted]","a":3,"b":4,"password":"[redacted]"}`},
		{"<, > and & are as they are, and as they were written", map[string]any{"a": "<b>&", "b": json.RawMessage(`"\u003cb\u003e"`)}, `{"a":"<b>&","b":"\u003cb\u003e"}`},
		{"a text", "password: S3CRET", `"password: S3CRET"`},
		{"nothing", nil, `null`},
		{"no JSON", json.RawMessage{}, `null`},
	} {
		t.Run(c.shows, func(t *testing.T) {
			t.Parallel()
			out, err := redact.Default().JSON(c.value)
			require.NoError(t, err)
			require.Equal(t, c.want, string(out))
			again, err := redact.Default().Raw(out)
			require.NoError(t, err)
			require.Equal(t, c.want, string(again))
		})
	}
}

func TestNoneLetsEverythingPass(t *testing.T) {
	t.Parallel()
	out, err := redact.None().JSON(map[string]any{"password": "a<b", "who": named{"n", "t"}})
	require.NoError(t, err)
	require.Equal(t, `{"password":"a<b","who":{"name":"n","town":"t"}}`, string(out)) //nolint:testifylint // Byte for byte.
	raw, err := redact.None().Raw([]byte(` {"password":1} `))
	require.NoError(t, err)
	require.Equal(t, ` {"password":1} `, string(raw))
}

func TestRaw(t *testing.T) {
	t.Parallel()
	same := []byte(` { "a" : [ 1 , {} , [ ] ] } `)
	out, err := redact.Default().Raw(same)
	require.NoError(t, err)
	require.Same(t, &same[0], &out[0], "what needs no change is not copied")
	out, err = redact.Default().Raw([]byte(" { \"a\" : 1 ,\n \"token\" : [ 1 , 2 ] , \"b\" : 2 } "))
	require.NoError(t, err)
	require.Equal(t, " { \"a\" : 1 ,\n \"token\" : \"[redacted]\" , \"b\" : 2 } ", string(out)) //nolint:testifylint // Byte for byte.
	for _, text := range []string{``, ` `, `{`, `{"password":"hunter2`, `{}{}`} {
		_, err := redact.Default().Raw([]byte(text))
		require.ErrorIs(t, err, redact.ErrNotJSON, text)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

type broken struct{}

func (broken) MarshalJSON() ([]byte, error) { return nil, errors.New("hunter2") }

func TestWhatCannotBeEncoded(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]any{
		"chan int": map[string]any{"a": make(chan int)}, "redact_test.broken": []any{broken{}}, "float64": math.NaN(),
	} {
		_, err := redact.Default().JSON(value)
		require.ErrorContains(t, err, name)
		require.NotContains(t, err.Error(), "hunter2")
		require.Error(t, errors.Unwrap(err))
		out, err := redact.Default().JSON(1)
		require.NoError(t, err, "the next one is not touched by it")
		require.Equal(t, "1", string(out))
	}
}
