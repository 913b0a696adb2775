package mockserver_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
)

// An AfterChange trigger is called for every row that is written, by whichever
// way, and is part of the transaction.
func TestAfterChange(t *testing.T) {
	var called []string
	log := func(tx *mockserver.FuncTx, operation string, after, before row) error {
		if after["v"] == "bad" {
			return errors.New("a bad value")
		}
		text := fmt.Sprintf("%s %s %v %v", tx.Role(), operation, after["v"], before["v"])
		called = append(called, text)
		return tx.Insert("log", row{"what": text})
	}
	s := mockserver.Start(t, mockserver.Config{InMemory: true, Tables: []mockserver.Table{
		{Name: "t", Columns: []mockserver.Column{{Name: "id", Type: "int8"}, {Name: "v", Type: "text"}}, PrimaryKey: []string{"id"}, AfterChange: log},
		{Name: "log", Columns: []mockserver.Column{{Name: "what", Type: "text"}}},
	}})
	require.NoError(t, s.Insert("t", row{"id": 1, "v": "a"}, row{"id": 2, "v": "b"}))
	_, err := s.Update("t", row{"v": "c"}, row{"id": 1})
	require.NoError(t, err)
	_, err = s.Delete("t", row{"id": 2})
	require.NoError(t, err)
	require.ErrorContains(t, s.Insert("t", row{"id": 3, "v": "d"}, row{"id": 4, "v": "bad"}), "a bad value")
	for _, c := range []restCall{
		{name: "REST INSERT", method: "POST", path: "t", body: `{"id":5,"v":"e"}`, status: 201},
		{name: "REST DELETE", method: "DELETE", path: "t?id=eq.5", status: 204},
		{name: "REST error", method: "POST", path: "t", body: `{"id":6,"v":"bad"}`, status: 400, want: "*"},
	} {
		t.Run(c.name, func(t *testing.T) { c.check(t, s) })
	}

	want := []string{
		"postgres INSERT a <nil>", "postgres INSERT b <nil>", "postgres UPDATE c a", "postgres DELETE <nil> b",
		"postgres INSERT d <nil>", "service_role INSERT e <nil>", "service_role DELETE <nil> e",
	}
	require.Equal(t, want, called)
	var kept []string
	for _, r := range contentOf(t, s, "log") {
		kept = append(kept, r["what"].(string))
	}
	require.Equal(t, append(want[:4:4], want[5:]...), kept, "what a transaction that failed did is gone")
}
