package mockserver_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gapless-go/gapless/mockserver"
)

// A server with a table, written to from Go and read over HTTP.
func Example() {
	server, err := mockserver.New(mockserver.Config{
		InMemory: true, // reached by server.HTTPClient alone
		Tables: []mockserver.Table{{
			Name: "orders",
			Columns: []mockserver.Column{
				{Name: "id", Type: "bigserial"},
				{Name: "total", Type: "numeric(12,2)", NotNull: true},
				{Name: "status", Type: "order_status", Enum: []string{"open", "paid"}, Default: func() any { return "open" }},
			},
			PrimaryKey: []string{"id"},
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()

	err = server.Insert("orders", mockserver.Row{"total": "12.5"}, mockserver.Row{"total": 7, "status": "paid"})
	fmt.Println(err)
	err = server.Insert("orders", mockserver.Row{"total": 1, "status": "lost"})
	fmt.Println(err)

	request, _ := http.NewRequest("GET", server.URL()+"/rest/v1/orders?status=eq.open", nil)
	request.Header.Set("apikey", server.AnonKey())
	answer, err := server.HTTPClient().Do(request)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	fmt.Println(answer.Status, string(body))
	// Output:
	// <nil>
	// mockserver: table public.orders: column status: invalid input value for enum order_status: "lost" [22P02]
	// 200 OK [{"id":1,"total":12.50,"status":"open"}]
}

// Several changes in one transaction have one commit timestamp, and none of
// them is kept if one fails.
func ExampleServer_Tx() {
	server, err := mockserver.New(mockserver.Config{
		InMemory: true,
		Tables: []mockserver.Table{{
			Name:       "accounts",
			Columns:    []mockserver.Column{{Name: "id", Type: "int4"}, {Name: "balance", Type: "numeric"}},
			PrimaryKey: []string{"id"},
			Rows:       []mockserver.Row{{"id": 1, "balance": 100}, {"id": 2, "balance": 0}},
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()

	err = server.Tx(func(tx *mockserver.Tx) error {
		if _, err := tx.Update("accounts", mockserver.Row{"balance": 60}, mockserver.Row{"id": 1}); err != nil {
			return err
		}
		_, err := tx.Update("accounts", mockserver.Row{"balance": 40}, mockserver.Row{"id": 2})
		return err
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	rows, err := server.Rows("accounts")
	fmt.Println(rows, err)
	// Output:
	// [map[balance:60 id:1] map[balance:40 id:2]] <nil>
}

// A schema in JSON, as the command reads it.
func ExampleLoadSchema() {
	config, err := mockserver.LoadSchema(strings.NewReader(`{
		"tables": [{
			"name": "todos",
			"columns": [{"name": "id", "type": "int8"}, {"name": "owner", "type": "uuid"}],
			"primary_key": ["id"],
			"rls": true,
			"policies": {"select": {"owner": "sub"}}
		}]
	}`))
	fmt.Println(len(config.Tables), config.Tables[0].Name, err)
	// Output:
	// 1 todos <nil>
}

// A fault is asked for by its name. Its parameters have defaults, which
// Server.Faults gives.
func ExampleServer_Inject() {
	server, err := mockserver.New(mockserver.Config{InMemory: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()

	err = server.Inject(mockserver.Fault{Name: "restart-database", Params: []byte(`{"for":"2s"}`)})
	fmt.Println(err)
	request, _ := http.NewRequest("GET", server.URL()+"/rest/v1/orders", nil)
	request.Header.Set("apikey", server.AnonKey())
	answer, err := server.HTTPClient().Do(request)
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = answer.Body.Close()
	fmt.Println(answer.Status)
	server.Heal()

	fmt.Println(server.Inject(mockserver.Fault{Name: "earthquake"}))
	fmt.Println(server.Inject(mockserver.Fault{Name: "L7", Params: []byte(`{"for":"-2s"}`)}))
	// Output:
	// <nil>
	// 503 Service Unavailable
	// mockserver: fault "earthquake": there is no such fault
	// mockserver: fault "L7": its parameters: "-2s" is not between 0 and 24h0m0s
}

// A schedule follows from its seed. Server.Play plays it.
func ExampleRandomFaults() {
	schedule, err := mockserver.RandomFaults(1, 3, time.Minute, "kill-sockets", "drop-changes", "mute-heartbeats")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, fault := range schedule {
		fmt.Println(fault)
	}
	// Output:
	// 14.056s mute-heartbeats {"on":true}
	// 15.949s mute-heartbeats {"on":false}
	// 26.963s drop-changes {"table":"","times":1}
	// 33.032s drop-changes {"table":"","times":0}
	// 36.986s mute-heartbeats {"on":true}
	// 55.038s mute-heartbeats {"on":false}
}
