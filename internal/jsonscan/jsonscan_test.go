package jsonscan_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/internal/jsonscan"
)

func TestAValueEndsWhereItEnds(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		`1`, `-1.5e+9`, `true`, `null`, `""`, `"a"`, `"}]\""`, `"\\"`, `{}`, `[]`, `{"a":{"b":["}"]}}`, `[[],[{}], "]" ]`,
	} {
		for _, after := range []string{"", ",1", "}", "]", " ", "\n\t\r"} {
			require.Equal(t, len(value), jsonscan.Value([]byte(value+after), 0), value+after)
			require.Equal(t, 2+len(value), jsonscan.Value([]byte("{}"+value+after), 2), "from a place further on")
		}
	}
}

func TestSpace(t *testing.T) {
	t.Parallel()
	require.Equal(t, 4, jsonscan.Space([]byte(" \t\r\n1 "), 0))
	require.Equal(t, 2, jsonscan.Space([]byte("  "), 0), "not beyond the end")
}

func FuzzValue(f *testing.F) {
	f.Add(`{"a":[1,"\"}",{"b":null}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		data := []byte(text)
		if !json.Valid(data) {
			t.Skip()
		}
		end := jsonscan.Value(data, jsonscan.Space(data, 0))
		require.Equal(t, len(data), jsonscan.Space(data, end))
	})
}
