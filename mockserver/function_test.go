package mockserver_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
)

// addOrder inserts an order and returns its id.
func addOrder(tx *mockserver.FuncTx, args map[string]json.RawMessage) (any, error) {
	var id int
	if err := json.Unmarshal(args["id"], &id); err != nil {
		return nil, err
	}
	return id, tx.Insert("orders", mockserver.Row{"id": id})
}

// functions are called with their arguments, and what they return, or refuse,
// is answered as PostgREST does.
func TestFunctionCalls(t *testing.T) {
	cfg := withOrders
	cfg.Functions = map[string]mockserver.Function{
		"add":  addOrder,
		"echo": func(_ *mockserver.FuncTx, args map[string]json.RawMessage) (any, error) { return args, nil },
		"null": func(*mockserver.FuncTx, map[string]json.RawMessage) (any, error) { return nil, nil },
		"html": func(*mockserver.FuncTx, map[string]json.RawMessage) (any, error) { return "<b>&", nil },
		"raise": func(tx *mockserver.FuncTx, _ map[string]json.RawMessage) (any, error) {
			_ = tx.Insert("orders", mockserver.Row{"id": 99})
			return nil, errors.New("no such luck")
		},
		"refuse": func(*mockserver.FuncTx, map[string]json.RawMessage) (any, error) {
			return nil, fmt.Errorf("wrapped: %w", &mockserver.Error{Code: "23514", Message: "too many", Detail: "d", Hint: "h"})
		},
		"twice": func(tx *mockserver.FuncTx, _ map[string]json.RawMessage) (any, error) {
			_ = tx.Insert("orders", mockserver.Row{"id": 50})
			_ = tx.Insert("orders", mockserver.Row{"id": 50}) // whose error dooms the transaction, heeded or not
			return "fine", nil
		},
		"chan": func(*mockserver.FuncTx, map[string]json.RawMessage) (any, error) { return make(chan int), nil },
		"greedy": func(_ *mockserver.FuncTx, args map[string]json.RawMessage) (any, error) {
			clear(args)
			return len(args), nil
		},
	}
	bubble(t, cfg, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		for _, call := range []restCall{
			{path: "rpc/add", body: `{"id":7}`, want: `7`, has: "Content-Type: application/json; charset=utf-8"},
			{path: "rpc/echo", body: `{"a":[1,{"b":null}],"n":9007199254740993}`, want: `{"a":[1,{"b":null}],"n":9007199254740993}`},
			{path: "rpc/echo", body: ``, want: `{}`},
			{path: "rpc/null", want: `null`},
			{path: "rpc/html", want: `"<b>&"`},
			{path: "rpc/greedy", body: `{"x":1}`, want: `0`},
			{path: "rpc/raise", status: 400, want: `{"code":"P0001","message":"no such luck","details":null,"hint":null}`},
			{path: "rpc/refuse", status: 400, want: `{"code":"23514","message":"too many","details":"d","hint":"h"}`},
			{path: "rpc/twice", status: 409, want: "*"},
			{path: "rpc/chan", status: 500, want: "*"},
			{path: "rpc/add", body: `[1]`, status: 400, want: `{"code":"PGRST102","message":"Empty or invalid json","details":null,"hint":null}`},
			{path: "rpc/add", body: `{`, status: 400, want: "*"},
			{path: "rpc/add", method: "GET", status: 405, want: "*"},
			{path: "rpc/nope", body: `{"b":1,"a":2}`, status: 404, want: `{"code":"PGRST202","message":"Could not find the function public.nope(a, b) in the schema cache",
				"details":"Searched for the function public.nope with parameters a, b or with a single unnamed json/jsonb parameter, but no matches were found in the schema cache.","hint":null}`},
			{path: "rpc/nope", status: 404, want: `{"code":"PGRST202","message":"Could not find the function public.nope without parameters in the schema cache",
				"details":"Searched for the function public.nope without parameters or with a single unnamed json/jsonb parameter, but no matches were found in the schema cache.","hint":null}`},
			{path: "rpc/add", header: "Content-Profile: other", body: `{"id":1}`, status: 406, want: "*"},
		} {
			if call.method == "" {
				call.method = "POST"
			}
			call.check(t, s)
		}
		require.Len(t, rowsOf(t, s), 1, "what fails leaves nothing")
		c.gets(7)
	})
}

// A function acts as its caller: grants and policies hold for it.
func TestFunctionsActAsTheirCaller(t *testing.T) {
	cfg := restConfig()
	cfg.Tables = append(cfg.Tables, mockserver.Table{ // everybody sees it, and the owner may change it
		Name: "shown", Columns: []col{{Name: "id", Type: "int8"}, {Name: "owner", Type: "uuid"}}, PrimaryKey: []string{"id"}, RLS: true,
		Select: func(mockserver.Claims, row) bool { return true },
		Update: func(claims mockserver.Claims, r row) bool { return r["owner"] == claims["sub"] },
		Rows:   []row{{"id": 1, "owner": annID}},
	})
	type answer struct {
		Role string           `json:"role"`
		Sub  any              `json:"sub"`
		Rows []map[string]any `json:"rows"`
		N    int              `json:"n"`
	}
	who := func(tx *mockserver.FuncTx) answer {
		return answer{Role: tx.Role(), Sub: tx.Claims()["sub"]}
	}
	read := func(table string, columns ...string) mockserver.Function {
		return func(tx *mockserver.FuncTx, _ map[string]json.RawMessage) (any, error) {
			a := who(tx)
			rows, err := tx.Select(table, columns...)
			for _, r := range rows {
				a.Rows = append(a.Rows, r)
			}
			return a, err
		}
	}
	write := func(do func(tx *mockserver.FuncTx) (int, error)) mockserver.Function {
		return func(tx *mockserver.FuncTx, _ map[string]json.RawMessage) (any, error) { return do(tx) }
	}
	cfg.Functions = map[string]mockserver.Function{
		"notes":    read("notes", "body", "id"),
		"all":      read("notes"),
		"readable": read("readable", "a"),
		"secret":   read("readable", "secret"),
		"column":   read("notes", "nope"),
		"update": write(func(tx *mockserver.FuncTx) (int, error) {
			return tx.Update("notes", row{"body": "new"}, row{})
		}),
		"steal": write(func(tx *mockserver.FuncTx) (int, error) {
			return tx.Update("notes", row{"owner": benID}, row{"id": 1})
		}),
		"give": write(func(tx *mockserver.FuncTx) (int, error) {
			return tx.Update("shown", row{"owner": benID}, row{"id": 1})
		}),
		"delete": write(func(tx *mockserver.FuncTx) (int, error) { return tx.Delete("notes", row{"id": 2}) }),
		"insert": write(func(tx *mockserver.FuncTx) (int, error) {
			if err := tx.Insert("notes", row{"id": 9, "owner": tx.Claims()["sub"]}); err != nil {
				return 0, err
			}
			rows, err := tx.Select("notes") // sees what it did itself
			return len(rows), err
		}),
		"forge": write(func(tx *mockserver.FuncTx) (int, error) {
			return 0, tx.Insert("notes", row{"id": 8, "owner": benID})
		}),
		"denied": write(func(tx *mockserver.FuncTx) (int, error) { return tx.Delete("readable", row{}) }),
		"denied2": write(func(tx *mockserver.FuncTx) (int, error) {
			return 0, tx.Insert("readable", row{"id": 5})
		}),
	}
	s := mockserver.Start(t, cfg)
	for _, call := range []restCall{
		{path: "rpc/notes", as: "ann", want: `{"role":"authenticated","sub":"` + annID + `","rows":[{"id":1,"body":"a"},{"id":3,"body":"c"}],"n":0}`},
		{path: "rpc/notes", as: "anon", want: `{"role":"anon","sub":null,"rows":null,"n":0}`},
		{path: "rpc/all", as: "ben", want: `{"role":"authenticated","sub":"` + benID + `","rows":[{"id":2,"owner":"` + benID + `","body":"b"}],"n":0}`},
		{path: "rpc/notes", want: `{"role":"service_role","sub":null,"rows":[{"id":1,"body":"a"},{"id":2,"body":"b"},{"id":3,"body":"c"}],"n":0}`},
		{path: "rpc/readable", as: "ann", want: `{"role":"authenticated","sub":"` + annID + `","rows":[{"a":"x"}],"n":0}`},
		{path: "rpc/secret", as: "ann", status: 403, want: "*"},
		{path: "rpc/readable", as: "anon", status: 401, want: "*"},
		{path: "rpc/column", status: 400, want: "*"},
		{path: "rpc/denied", as: "ann", status: 403, want: "*"},
		{path: "rpc/denied2", as: "ann", status: 403, want: "*"},
		{path: "rpc/steal", as: "ann", status: 403, want: "*"},
		{path: "rpc/give", as: "ann", status: 403, want: "*"},
		{path: "rpc/give", as: "ben", want: `0`},
		{path: "rpc/forge", as: "ann", status: 403, want: "*"},
		{path: "rpc/delete", as: "ann", want: `0`},
		{path: "rpc/update", as: "ann", want: `2`},
		{path: "rpc/insert", as: "ann", want: `3`},
		{path: "rpc/delete", as: "ben", want: `1`},
		{path: "rpc/update", want: `3`},
	} {
		call.method = "POST"
		call.check(t, s)
	}
}

// A function that was in another transaction's way is called again, unless it
// says so itself.
func TestFunctionsAreCalledAgain(t *testing.T) {
	var calls atomic.Int32
	var s *mockserver.Server
	cfg := withOrders
	cfg.InMemory = true
	cfg.Functions = map[string]mockserver.Function{
		"count": func(tx *mockserver.FuncTx, _ map[string]json.RawMessage) (any, error) {
			if _, err := tx.Update("orders", mockserver.Row{"status": "mine"}, mockserver.Row{"id": 1}); err != nil {
				return nil, err
			}
			if calls.Add(1) == 1 { // somebody else commits first
				if _, err := s.Update("orders", mockserver.Row{"status": "theirs"}, mockserver.Row{"id": 1}); err != nil {
					return nil, err
				}
			}
			return calls.Load(), nil
		},
		"conflict": func(*mockserver.FuncTx, map[string]json.RawMessage) (any, error) {
			calls.Add(1)
			return nil, &mockserver.Error{Code: "40001", Message: "its own"}
		},
	}
	s = mockserver.Start(t, cfg)
	insert(t, s, 1)
	restCall{method: "POST", path: "rpc/count", want: `2`}.check(t, s)
	require.Equal(t, "mine", rowsOf(t, s)[0]["status"])
	calls.Store(0)
	restCall{method: "POST", path: "rpc/conflict", status: 500, want: "*"}.check(t, s)
	require.Equal(t, int32(1), calls.Load())
}

// What a function does with a transaction that is over fails, and so does what
// follows a failure.
func TestFunctionsAfterAFailure(t *testing.T) {
	var kept *mockserver.FuncTx
	cfg := withOrders
	cfg.InMemory = true
	cfg.Functions = map[string]mockserver.Function{
		"keep": func(tx *mockserver.FuncTx, _ map[string]json.RawMessage) (any, error) {
			kept = tx
			if _, err := tx.Select("nope"); err == nil {
				return nil, errors.New("there is no such table")
			}
			_, err := tx.Select("orders")
			return nil, err
		},
	}
	s := mockserver.Start(t, cfg)
	restCall{method: "POST", path: "rpc/keep", status: 500, want: `{"code":"25P02","message":"current transaction is aborted, commands ignored until end of transaction block","details":null,"hint":null}`}.check(t, s)
	_, err := kept.Select("orders")
	require.ErrorContains(t, err, "the transaction is over")
	require.ErrorContains(t, kept.Insert("orders", mockserver.Row{"id": 1}), "the transaction is over")
	_, err = kept.Update("orders", mockserver.Row{}, mockserver.Row{})
	require.ErrorContains(t, err, "the transaction is over")
	_, err = kept.Delete("orders", mockserver.Row{})
	require.ErrorContains(t, err, "the transaction is over")
}

func TestFunctionsNeedANameAndABody(t *testing.T) {
	_, err := mockserver.New(mockserver.Config{InMemory: true, Functions: map[string]mockserver.Function{"f": nil}})
	require.ErrorContains(t, err, `Config.Functions["f"]`)
}
