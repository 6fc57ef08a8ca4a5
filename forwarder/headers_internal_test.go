package forwarder

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

func FuzzHeaders(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `null`, ` { "a" : "b" , "c":"" } `, `{"a":"b"}`, `{"ce_id":"1","content-type":"application/json"}`,
		`{"quote":"\"","unicode":"\u00e9","slash":"\/"}`, `["a"]`, `{"a":1}`, `{"a":{"b":"c"}}`, `{"a":"b"`, `{"a":"b"}x`, `{"a":"b",}`, `{,}`,
		"{\"a\":\"\x00\"}", `"a"`, `{"a":null}`, `{"a":"b","a":"c"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, column []byte) {
		names := headerNames{}
		headers, err := names.decode([]delivery.Header{{Key: "first"}}, column)
		require.NotEmpty(t, headers)
		require.Equal(t, "first", headers[0].Key, "what was there stays")
		var want map[string]*string
		if len(column) > 0 && json.Unmarshal(column, &want) != nil {
			if json.Valid(column) {
				require.ErrorIs(t, err, errHeaders)
			}
			return // the column's type keeps out what is not JSON
		}
		for _, value := range want {
			if value == nil {
				require.ErrorIs(t, err, errHeaders)
				return
			}
		}
		require.NoError(t, err)
		if !utf8.Valid(column) {
			return // a SQL_ASCII database; the bytes go on as they are, encoding/json would replace them
		}
		got := map[string]*string{}
		for _, h := range headers[1:] {
			value := string(h.Value)
			got[h.Key] = &value
		}
		require.Len(t, got, len(want))
		for name, value := range want {
			require.Equal(t, *value, *got[name])
		}
	})
}

func TestHeaderNamesAreBounded(t *testing.T) {
	t.Parallel()
	names := headerNames{}
	for i := range 3 * maxHeaderNames {
		names.intern([]byte{byte(i), byte(i >> 8)})
	}
	require.Len(t, names, maxHeaderNames)
}
