package cdc_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
)

func TestSplitRows(t *testing.T) {
	deep := strings.Repeat("[", 100) + strings.Repeat("]", 100) // deeper than the short way goes
	for text, want := range map[string][]string{
		`[]`:    nil,
		" [ ] ": nil,
		"[{\"id\":1,\"t\":\"]}\\\"\"},\n {\"id\":-2.50e3, \"t\":null}] \n": {`{"id":1,"t":"]}\""}`, `{"id":-2.50e3, "t":null}`},
		`[{"a":` + deep + `},{"\u0061":2}]`:                                {`{"a":` + deep + `}`, `{"\u0061":2}`},
		`[1,"a",[true]]`:                                                   {`1`, `"a"`, `[true]`},
	} {
		rows, err := cdc.SplitRows([]byte(text))
		require.NoError(t, err, text)
		var got []string
		for _, row := range rows {
			got = append(got, string(row))
		}
		require.Equal(t, want, got)
	}
	for _, text := range []string{"", "null", `{"id":1}`, `[{"id":1}`, `[{"id":1},]`, `[{"id":01}]`, `[{"id":1}][]`, "[\"a\x01\"]", `[{"id":1} {"id":2}]`} {
		rows, err := cdc.SplitRows([]byte(text))
		require.Error(t, err, text)
		require.Nil(t, rows)
	}
}

// FuzzSplitRows: what the short way splits is what encoding/json does, and it
// takes nothing else.
func FuzzSplitRows(f *testing.F) {
	f.Add([]byte(`[{"id":1,"name":"a\n"},{"id":2.5,"name":null}]`))
	f.Add([]byte("[ [true,false] , {\"\\u0061\": \"]\"}\n]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		rows, err := cdc.SplitRows(text)
		var want []json.RawMessage
		if wrong := json.Unmarshal(text, &want); wrong != nil || want == nil {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		require.Len(t, rows, len(want))
		for i := range rows {
			require.Equal(t, string(want[i]), string(rows[i]))
		}
	})
}
