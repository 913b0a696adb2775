package postgrest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func FuzzParseError(f *testing.F) {
	f.Add(404, []byte(`{"code":"PGRST205","details":null,"hint":"x","message":"Could not find the table"}`), false)
	f.Add(502, []byte("<html>"), true)
	f.Add(401, []byte(`{"msg":"no","error":{"a":1}}`), false)
	f.Fuzz(func(t *testing.T, status int, body []byte, html bool) {
		e := &Error{Table: "t", Status: status}
		e.parse(body, html)
		require.Less(t, len(e.Error()), 800)
		require.NotContains(t, e.Error(), "\n")
		require.False(t, e.Refusal() && e.Temporary())
	})
}
