package mockserver_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
)

// code40001 is what a trigger raises.
var code40001 = &mockserver.Error{Code: "40001", Message: "could not serialize access"}

// A trigger that raises a serialization failure is called a bounded number of
// times, and its error is the statement's, by whichever way it is made.
func TestSerializationFailure_OfATrigger(t *testing.T) {
	var calls atomic.Int64
	fails := func(*mockserver.FuncTx, row) (row, error) { calls.Add(1); return nil, code40001 }
	once := func(tx *mockserver.FuncTx, fresh row) (row, error) {
		if calls.Add(1) == 1 {
			return nil, code40001
		}
		return fresh, nil
	}
	columns := []mockserver.Column{{Name: "id", Type: "int8"}}
	s, err := mockserver.New(mockserver.Config{InMemory: true, Admin: true,
		Tables: []mockserver.Table{
			{Name: "never", Columns: columns, PrimaryKey: []string{"id"}, BeforeInsert: fails},
			{Name: "second", Columns: columns, PrimaryKey: []string{"id"}, BeforeInsert: once},
		},
		Functions: map[string]mockserver.Function{
			"raise": func(*mockserver.FuncTx, map[string]json.RawMessage) (any, error) { calls.Add(1); return nil, code40001 },
		},
	})
	require.NoError(t, err)
	var refused *mockserver.Error
	require.ErrorAs(t, s.Insert("never", row{"id": 1}), &refused)
	require.Equal(t, "40001", refused.Code)
	require.LessOrEqual(t, calls.Swap(0), int64(10))
	for _, c := range []restCall{
		{name: "REST", method: "POST", path: "never", body: `{"id":1}`, status: 500, want: "*"},
		{name: "function", method: "POST", path: "rpc/raise", body: `{}`, status: 500, want: "*"},
	} {
		c.check(t, s)
		require.LessOrEqual(t, calls.Swap(0), int64(10), c.name)
	}
	require.NoError(t, s.Insert("second", row{"id": 1}))
	require.NoError(t, s.Close())
}

// A transaction that a trigger itself always overtakes ends, too.
func TestSerializationFailure_OfItsOwnMaking(t *testing.T) {
	var s *mockserver.Server
	n := 0
	s = mockserver.Start(t, mockserver.Config{InMemory: true, Tables: []mockserver.Table{
		{Name: "counter", Columns: []mockserver.Column{{Name: "id", Type: "int8"}, {Name: "n", Type: "int8"}}, PrimaryKey: []string{"id"}, Rows: []mockserver.Row{{"id": 1}}},
		{Name: "t", Columns: []mockserver.Column{{Name: "id", Type: "int8"}}, PrimaryKey: []string{"id"},
			BeforeInsert: func(tx *mockserver.FuncTx, fresh row) (row, error) {
				n++
				if _, err := tx.Update("counter", row{"n": n}, row{"id": 1}); err != nil {
					return nil, err
				}
				_, err := s.Update("counter", row{"n": -n}, row{"id": 1})
				return fresh, err
			}},
	}})
	require.ErrorContains(t, s.Insert("t", row{"id": 1}), "40001")
	require.Equal(t, 1000, n)
}

// A panic in code of the user's is an error of what called it: the process, the
// server and its other clients go on.
func TestPanicsOfUserCode(t *testing.T) {
	var on atomic.Bool
	boom := func() {
		if on.Load() {
			panic("boom")
		}
	}
	policy := func(mockserver.Claims, mockserver.Row) bool { boom(); return true }
	guarded := mockserver.Table{Name: "guarded", Columns: []mockserver.Column{{Name: "id", Type: "int8"}}, PrimaryKey: []string{"id"},
		RLS: true, Select: policy, Insert: policy, Update: policy, Delete: policy}
	triggered := mockserver.Table{Name: "triggered", Columns: []mockserver.Column{{Name: "id", Type: "int8", Default: func() any { boom(); return 7 }}},
		PrimaryKey: []string{"id"}, AfterChange: func(*mockserver.FuncTx, string, row, row) error { boom(); return nil }}
	cfg := mockserver.Config{
		Tables: []mockserver.Table{orders, guarded, triggered},
		Functions: map[string]mockserver.Function{
			"call": func(*mockserver.FuncTx, map[string]json.RawMessage) (any, error) { boom(); return 1, nil },
		},
		Messages: mockserver.MessagePolicies{
			Read:  func(string, string, mockserver.Claims) bool { boom(); return true },
			Write: func(string, string, mockserver.Claims) bool { boom(); return true },
		},
	}
	bubble(t, cfg, func(t *testing.T, s *mockserver.Server) {
		user := s.UserToken("u", time.Hour)
		c := joined(t, s, phoenix.V2, "realtime:private", `{"private":true}`, user)
		c.subscribed(2, "realtime:orders", ordersBinding, "")
		c.subscribed(3, "realtime:guarded", `[{"event":"*","schema":"public","table":"guarded"}]`, "")
		require.NoError(t, s.Insert("guarded", row{"id": 1}))
		c.gets(1)

		on.Store(true)
		require.ErrorContains(t, s.Insert("triggered", row{"id": 1}), "panic in ")
		require.ErrorContains(t, s.Insert("triggered", row{}), "boom")
		for _, path := range []string{"POST triggered", "POST guarded", "GET guarded", "PATCH guarded?id=eq.1", "DELETE guarded?id=eq.1", "POST rpc/call"} {
			method, path, _ := strings.Cut(path, " ")
			content := ""
			if method == "POST" || method == "PATCH" {
				content = `{"id":2}`
			}
			r, err := http.NewRequest(method, s.URL()+"/rest/v1/"+path, strings.NewReader(content))
			require.NoError(t, err)
			r.Header.Set("apikey", s.AnonKey())
			r.Header.Set("Authorization", "Bearer "+user)
			answer, err := s.HTTPClient().Do(r)
			require.NoError(t, err)
			text := body(t, answer)
			require.Equal(t, 500, answer.StatusCode, "%s %s: %s", method, path, text)
			require.Contains(t, text, `"code":"XX000"`)
			require.Contains(t, text, "boom")
		}
		c.join(4, "realtime:other", `{"private":true}`, user)
		require.Contains(t, c.next().Payload, "Unauthorized: You do not have permissions to read from this Channel topic: other")
		c.send(1, 5, "realtime:private", "broadcast", `{"type":"broadcast","event":"e","payload":{}}`)
		require.NoError(t, s.Insert("guarded", row{"id": 3})) // The poll fails, as it does where a policy raises an error.
		c.silent(6 * time.Second)

		on.Store(false)
		insert(t, s, 2)
		c.gets(2)
		c.join(6, "realtime:other", `{"private":true}`, user)
		require.Contains(t, c.next().Payload, `"status":"ok"`)
	})
}
