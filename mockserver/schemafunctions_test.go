package mockserver_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
)

// The functions and triggers of a schema file broadcast from the database.
func TestSchemaBroadcasts(t *testing.T) {
	cfg, err := mockserver.LoadSchema(strings.NewReader(`{
		"tables": [{
			"schema": "public", "name": "moves", "primary_key": ["id"], "broadcast_changes": "room:{id}:{x}",
			"columns": [{"name": "id", "type": "int8"}, {"name": "x", "type": "int4"}]
		}],
		"functions": {"notify": "realtime.send", "notify_binary": "realtime.send_binary"}
	}`))
	require.NoError(t, err)
	bubble(t, cfg, func(t *testing.T, s *mockserver.Server) {
		c := joined(t, s, phoenix.V2, "realtime:room:1:2", `{"private":true}`, s.UserToken("", time.Hour))
		for _, call := range []restCall{
			{name: "send", body: `{"payload":{"n":1,"id":"a"},"event":"e","topic":"room:1:2"}`, path: "rpc/notify"},
			{name: "public", body: `{"payload":{"n":2},"event":"e","topic":"room:1:2","private":false}`, path: "rpc/notify"},
			{name: "no object", body: `{"payload":[1],"event":"e","topic":"room:1:2"}`, path: "rpc/notify"},
			{name: "not a user", as: "ann", body: `{"payload":{"n":3},"event":"e","topic":"room:1:2"}`, path: "rpc/notify", status: 403, want: "*"},
			{name: "binary", body: `{"payload":"\\x00ff","event":"b","topic":"room:1:2"}`, path: "rpc/notify_binary"},
			{name: "not bytea", body: `{"payload":"\\x0","event":"b","topic":"room:1:2"}`, path: "rpc/notify_binary", status: 400, want: "*"},
			{name: "no topic text", body: `{"payload":{},"event":"e","topic":5}`, path: "rpc/notify", status: 400, want: "*"},
		} {
			call.method = "POST"
			if call.status == 0 {
				call.status = 204
			}
			call.check(t, s)
		}
		require.NoError(t, s.Insert("moves", row{"id": 1, "x": 2}))
		_, err := s.Update("moves", row{"x": 3}, row{"id": 1}) // goes to room:1:3
		require.NoError(t, err)
		_, err = s.Update("moves", row{"x": 2}, row{"id": 1})
		require.NoError(t, err)
		_, err = s.Delete("moves", row{"id": 1})
		require.NoError(t, err)

		sent := c.nextMessage()
		require.JSONEq(t, `{"n":1,"id":"a"}`, string(sent.Payload))
		require.Equal(t, []byte{0, 255}, c.nextMessage().Payload)
		for _, want := range []string{
			`{"schema":"public","table":"moves","operation":"INSERT","record":{"id":1,"x":2},"old_record":null}`,
			`{"schema":"public","table":"moves","operation":"UPDATE","record":{"id":1,"x":2},"old_record":{"id":1,"x":3}}`,
			`{"schema":"public","table":"moves","operation":"DELETE","record":null,"old_record":{"id":1,"x":2}}`,
		} {
			m := c.nextMessage()
			var got map[string]any
			require.NoError(t, json.Unmarshal(m.Payload, &got))
			require.Equal(t, got["operation"], m.UserEvent)
			delete(got, "id")
			text, err := json.Marshal(got)
			require.NoError(t, err)
			require.JSONEq(t, want, string(text))
		}
		c.silent(time.Second)
	})
}
