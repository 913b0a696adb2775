package mockserver_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
)

// Under row level security the server asks whether the row is visible when it
// reads the log, and the INSERT of a row that is not yet is lost for good. The
// UPDATE of a row that was visible before is not, and a DELETE never is.
func TestHiddenCommitsLoseInserts(t *testing.T) {
	notes := mockserver.Table{
		Name: "notes", Columns: []mockserver.Column{{Name: "id", Type: "int8"}, {Name: "n", Type: "int8"}}, PrimaryKey: []string{"id"},
		RLS: true, Select: func(mockserver.Claims, mockserver.Row) bool { return true }, Rows: []mockserver.Row{{"id": 1, "n": 1}, {"id": 2, "n": 2}},
	}
	cfg := mockserver.Config{Tables: []mockserver.Table{notes, orders}}
	bubble(t, cfg, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", `[{"event":"*","schema":"public"}]`, "")
		s.HideCommits(5*time.Second, 4)
		require.NoError(t, s.Insert("notes", mockserver.Row{"id": 3}))
		_, err := s.Update("notes", mockserver.Row{"n": 10}, mockserver.Row{"id": 1})
		require.NoError(t, err)
		_, err = s.Delete("notes", mockserver.Row{"id": 2})
		require.NoError(t, err)
		insert(t, s, 1) // without row level security nothing is asked
		got, _ := c.change()
		require.Equal(t, "UPDATE", got.Data.Type)
		require.JSONEq(t, `{"id":1,"n":10}`, string(got.Data.Record))
		got, _ = c.change()
		require.Equal(t, "DELETE", got.Data.Type)
		got, _ = c.change()
		require.Equal(t, "orders", got.Data.Table)
		restCall{path: "notes", as: "anon", want: `[{"id":1,"n":1},{"id":2,"n":2}]`}.check(t, s)
		restCall{path: "orders?select=id", as: "anon", want: `[]`}.check(t, s)
		time.Sleep(5 * time.Second)
		restCall{path: "notes", as: "anon", want: `[{"id":1,"n":10},{"id":3,"n":null}]`}.check(t, s)
		restCall{path: "orders?select=id", as: "anon", want: `[{"id":1}]`}.check(t, s)
		c.silent(time.Minute / 4)
		require.NoError(t, s.Insert("notes", mockserver.Row{"id": 4})) // the fifth is not hidden
		got, _ = c.change()
		require.JSONEq(t, `{"id":4,"n":null}`, string(got.Data.Record))
	})
}

// Who writes over REST hears of it when others see it.
func TestHiddenCommitsAnswerLate(t *testing.T) {
	cfg := withOrders
	cfg.Functions = map[string]mockserver.Function{"add": addOrder}
	bubble(t, cfg, func(t *testing.T, s *mockserver.Server) {
		s.HideCommits(3*time.Second, 2)
		for i, call := range []restCall{
			{method: "POST", path: "orders", body: `{"id":1}`, status: 201},
			{method: "POST", path: "rpc/add", body: `{"id":2}`, want: `2`},
			{method: "POST", path: "orders", body: `{"id":3}`, status: 201},
		} {
			before := time.Now()
			call.check(t, s)
			want := 3 * time.Second
			if i == 2 {
				want = 0
			}
			require.Equal(t, want, time.Since(before), "%d", i)
		}
	})
}

// A table as others see it while commits are hidden, and as a stale read sees
// it, is the one of some commits ago, whatever these did.
func TestWhatIsVisibleIsAnEarlierState(t *testing.T) {
	const late = 7 * time.Second
	for name, begin := range map[string]func(*mockserver.Server){
		"hidden": func(s *mockserver.Server) { s.HideCommits(late, -1) },
		"stale":  func(s *mockserver.Server) { s.FaultREST(mockserver.RESTFault{Stale: late}) },
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(30) {
				bubble(t, mockserver.Config{Tables: []mockserver.Table{numbers}}, func(t *testing.T, s *mockserver.Server) {
					begin(s)
					earlierStates(t, s, rand.New(rand.NewPCG(seed, 0)), late)
				})
			}
		})
	}
}

var numbers = mockserver.Table{
	Name: "numbers", Columns: []mockserver.Column{{Name: "id", Type: "int8"}, {Name: "n", Type: "int8"}}, PrimaryKey: []string{"id"},
}

// earlierStates commits at random and wants what is read to be late.
func earlierStates(t *testing.T, s *mockserver.Server, r *rand.Rand, late time.Duration) {
	states, commits := []string{"[]"}, []time.Time{{}}
	for range 40 {
		require.NoError(t, s.Tx(func(tx *mockserver.Tx) error {
			for range 1 + r.IntN(3) {
				if err := changeNumbers(tx, r); err != nil {
					return err
				}
			}
			return nil
		}))
		rows, err := s.Rows("numbers")
		require.NoError(t, err)
		states, commits = append(states, string(mustJSON(t, rows))), append(commits, time.Now())
		time.Sleep(time.Duration(r.IntN(4000)) * time.Millisecond)
		want := ""
		for i, at := range commits {
			if time.Since(at) >= late {
				want = states[i]
			}
		}
		restCall{path: "numbers", want: want}.check(t, s)
	}
}

// changeNumbers deletes, updates, moves or writes a row.
func changeNumbers(tx *mockserver.Tx, r *rand.Rand) error {
	row, other := mockserver.Row{"id": r.IntN(4)}, mockserver.Row{"id": r.IntN(4)}
	switch r.IntN(4) {
	case 0:
		_, err := tx.Delete("numbers", row)
		return err
	case 1:
		_, err := tx.Update("numbers", mockserver.Row{"n": r.IntN(9)}, row)
		return err
	case 2:
		if _, err := tx.Delete("numbers", other); err != nil {
			return err
		}
		_, err := tx.Update("numbers", other, row)
		return err
	}
	if _, err := tx.Delete("numbers", row); err != nil {
		return err
	}
	return tx.Insert("numbers", mockserver.Row{"id": row["id"], "n": r.IntN(9)})
}
