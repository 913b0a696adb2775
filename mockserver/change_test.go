package mockserver_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
)

// C30: the envelope, byte by byte, as the real server writes it but for the
// order of the outer keys.
func TestC30Envelope(t *testing.T) {
	bothVersions(t, withOrders, func(t *testing.T, s *mockserver.Server, v phoenix.Version) {
		time.Sleep(time.Until(time.Date(2026, 12, 1, 10, 20, 0, 0, time.UTC)))
		c := open(t, s, v)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		time.Sleep(time.Until(time.Date(2026, 12, 1, 10, 20, 30, 456_789_000, time.UTC)))
		require.NoError(t, s.Insert("orders", mockserver.Row{"id": 1, "total": "2.5"}))
		const columns = `"columns":[{"name": "id", "type": "int8"}, {"name": "status", "type": "text"}, {"name": "total", "type": "numeric"}]`
		const head = columns + `,"commit_timestamp":"2026-12-01T10:20:30.456Z","errors":null`
		id := ordersID(t, c.rawNext(), `{"data":{`+head+`,"record":{"id": 1, "total": 2.50, "status": null},"schema":"public","table":"orders","type":"INSERT"},"ids":[%s]}`)
		time.Sleep(time.Until(time.Date(2026, 12, 1, 10, 20, 31, 456_000_000, time.UTC)))
		later := strings.Replace(head, "30.456", "31.456", 1)
		require.NoError(t, s.Tx(func(tx *mockserver.Tx) error {
			if _, err := tx.Update("orders", mockserver.Row{"status": "x"}, mockserver.Row{"id": 1}); err != nil {
				return err
			}
			_, err := tx.Delete("orders", nil)
			return err
		}))
		require.Equal(t, id, ordersID(t, c.rawNext(), `{"data":{`+later+`,"old_record":{"id": 1},"record":{"id": 1, "total": 2.50, "status": "x"},"schema":"public","table":"orders","type":"UPDATE"},"ids":[%s]}`))
		require.Equal(t, id, ordersID(t, c.rawNext(), `{"data":{`+later+`,"old_record":{"id": 1},"schema":"public","table":"orders","type":"DELETE"},"ids":[%s]}`))
	})
}

// rawNext returns the payload of the next message as it was on the wire. It
// must be one without refs.
func (c *socket) rawNext() string {
	c.t.Helper()
	f := c.take(15 * time.Second)
	m, err := phoenix.Decode(c.version, phoenix.FromServer, f.binary, f.raw)
	require.NoError(c.t, err)
	require.Empty(c.t, m.JoinRef)
	require.Empty(c.t, m.Ref)
	return string(m.Payload)
}

// ordersID returns the id in a payload that else must be as given.
func ordersID(t *testing.T, got, want string) string {
	t.Helper()
	before, after, _ := strings.Cut(want, "%s")
	require.True(t, strings.HasPrefix(got, before) && strings.HasSuffix(got, after), "%s\n is not\n%s", got, want)
	return got[len(before) : len(got)-len(after)]
}

// C40: bindings of one channel that select different columns get a message
// each.
func TestC40Selections(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", `[{"schema":"public","table":"orders","select":["total"]},{"schema":"public","table":"orders"},{"event":"INSERT","schema":"public","table":"orders","select":["total"]}]`, "")
		require.NoError(t, s.Insert("orders", mockserver.Row{"id": 1}))
		all, _ := c.change()
		require.Len(t, all.IDs, 1)
		require.JSONEq(t, `{"id":1,"total":null,"status":null}`, string(all.Data.Record))
		some, _ := c.change()
		require.Len(t, some.IDs, 2)
		require.NotContains(t, some.IDs, all.IDs[0])
		require.JSONEq(t, `{"id":1,"total":null}`, string(some.Data.Record))
		require.JSONEq(t, `[{"name":"id","type":"int8"},{"name":"total","type":"numeric"}]`, string(some.Data.Columns))
		c.silent(time.Second)
	})
}

// C41: transactions are contiguous, in commit order over all tables, with one
// timestamp; ids are those of all bindings, the last one first.
func TestC41Transactions(t *testing.T) {
	lines := mockserver.Table{Name: "lines", Columns: []mockserver.Column{{Name: "id", Type: "int8"}}, PrimaryKey: []string{"id"}}
	bubble(t, mockserver.Config{Tables: []mockserver.Table{orders, lines}}, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", `[{"schema":"public","table":"orders"},{"schema":"public"},{"schema":"public","table":"orders"}]`, "")
		for n := range 3 {
			time.Sleep(10 * time.Millisecond)
			require.NoError(t, s.Tx(func(tx *mockserver.Tx) error {
				for i := range 150 { // more than one poll takes, but for transactions
					table := "orders"
					if i%2 == 1 {
						table = "lines"
					}
					if err := tx.Insert(table, mockserver.Row{"id": n*1000 + i}); err != nil {
						return err
					}
				}
				return nil
			}))
		}
		var times []string
		for n := range 3 {
			for i := range 150 {
				got, _ := c.change()
				require.Contains(t, string(got.Data.Record), fmt.Sprintf(`"id":%d`, n*1000+i))
				if i == 0 {
					times = append(times, *got.Data.CommitTimestamp)
				}
				require.Equal(t, times[n], *got.Data.CommitTimestamp)
				if i == 0 {
					require.Len(t, got.IDs, 3)
					require.Equal(t, got.IDs[0], got.IDs[2], "two equal bindings, and another between them")
					require.NotEqual(t, got.IDs[0], got.IDs[1])
				}
			}
		}
		require.Less(t, times[0], times[1])
		require.Less(t, times[1], times[2])
	})
}

// A lone change waits for the poller, which looks every half second when idle.
func TestPollIntervals(t *testing.T) {
	bubble(t, withOrders, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		var longest time.Duration
		for i := range 20 {
			time.Sleep(time.Duration(i) * 77 * time.Millisecond)
			before := time.Now()
			require.NoError(t, s.Insert("orders", mockserver.Row{"id": i}))
			c.change()
			longest = max(longest, time.Since(before))
		}
		require.LessOrEqual(t, longest, 500*time.Millisecond)
		require.Greater(t, longest, 100*time.Millisecond)
	})
}

// After ten minutes without a subscriber the slot is closed; what is committed
// until the next one is lost.
func TestSlotIsClosedWhenIdle(t *testing.T) {
	cfg := withOrders
	cfg.Timing.IdleTimeout, cfg.Timing.Sweep = -1, -1
	bubble(t, cfg, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", ordersBinding, "")
		for i, idle := range []time.Duration{time.Minute, 11 * time.Minute, time.Minute} {
			c.send(uint64(i+1), 9, "realtime:a", "phx_leave", "{}")
			c.next()
			c.next()
			time.Sleep(idle)
			require.NoError(t, s.Insert("orders", mockserver.Row{"id": 2 * i}))
			c.subscribed(uint64(i+2), "realtime:a", ordersBinding, "")
			require.NoError(t, s.Insert("orders", mockserver.Row{"id": 2*i + 1}))
			var ids string
			for !strings.Contains(ids, fmt.Sprintf(`"id":%d`, 2*i+1)) {
				got, _ := c.change()
				ids += string(got.Data.Record)
			}
			if idle > 10*time.Minute {
				require.NotContains(t, ids, fmt.Sprintf(`"id":%d`, 2*i))
			}
		}
	})
}

// C42: INSERT and UPDATE are filtered by the new row, DELETE by what is known
// of the old one.
func TestC42FilteredOperations(t *testing.T) {
	full := orders
	full.Name, full.ReplicaIdentity = "full", mockserver.IdentityFull
	bubble(t, mockserver.Config{Tables: []mockserver.Table{orders, full}}, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:status", `[{"schema":"public","table":"orders","filter":"status=eq.open"},{"schema":"public","table":"full","filter":"status=eq.open"}]`, "")
		c.subscribed(2, "realtime:id", `[{"event":"DELETE","schema":"public","table":"orders","filter":"id=eq.1"}]`, "")
		c.subscribed(3, "realtime:both", `[{"event":"DELETE","schema":"public","table":"orders","filter":"id=eq.1,status=eq.closed"}]`, "")
		for _, table := range []string{"orders", "full"} {
			require.NoError(t, s.Insert(table, mockserver.Row{"id": 1, "status": "new"}, mockserver.Row{"id": 2, "status": "open"}))
			for _, status := range []string{"open", "closed"} {
				_, err := s.Update(table, mockserver.Row{"status": status}, mockserver.Row{"id": 1})
				require.NoError(t, err)
			}
			_, err := s.Delete(table, nil)
			require.NoError(t, err)
		}
		var got []string
		for range 6 {
			d, m := c.change()
			got = append(got, m.Topic+" "+d.Data.Table+" "+d.Data.Type+" "+string(d.Data.Record)+string(d.Data.OldRecord))
		}
		require.Equal(t, []string{
			`realtime:status orders INSERT {"id":2,"status":"open","total":null}`,
			`realtime:status orders UPDATE {"id":1,"status":"open","total":null}{"id":1}`, // it enters; it leaves without a word
			`realtime:id orders DELETE {"id":1}`,
			`realtime:status full INSERT {"id":2,"status":"open","total":null}`,
			`realtime:status full UPDATE {"id":1,"status":"open","total":null}{"id":1,"status":"new","total":null}`,
			`realtime:status full DELETE {"id":2,"status":"open","total":null}`,
		}, got)
		c.silent(time.Second)
	})
}

// C45: what is in old_record, by replica identity and row level security.
func TestC45ReplicaIdentity(t *testing.T) {
	columns := []mockserver.Column{{Name: "id", Type: "int8"}, {Name: "code", Type: "int4", NotNull: true}, {Name: "big", Type: "text", Toast: true}}
	big := strings.Repeat("x", 3000)
	everybody := func(mockserver.Claims, mockserver.Row) bool { return true }
	for _, tc := range []struct {
		name           string
		identity       mockserver.ReplicaIdentity
		rls            bool
		update, delete string // old_record
		record         string // of the UPDATE
	}{
		{"default", mockserver.IdentityDefault, false, `{"id":1}`, `{"id":2}`, `{"code":7,"id":2}`},
		{"default with RLS", mockserver.IdentityDefault, true, `{"id":1}`, `{"id":2}`, `{"code":7,"id":2}`},
		{"full", mockserver.IdentityFull, false, `{"big":"X","code":5,"id":1}`, `{"big":"X","code":7,"id":2}`, `{"big":"X","code":7,"id":2}`},
		{"full with RLS", mockserver.IdentityFull, true, `{"big":"X","code":5,"id":1}`, `{"id":2}`, `{"big":"X","code":7,"id":2}`},
		{"index", mockserver.IdentityIndex, false, `{"code":5}`, `{"code":7}`, `{"code":7,"id":2}`},
		{"index with RLS", mockserver.IdentityIndex, true, `{"code":5}`, `{}`, `{"code":7,"id":2}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			table := mockserver.Table{Name: "t", Columns: columns, PrimaryKey: []string{"id"}, ReplicaIdentity: tc.identity, RLS: tc.rls,
				Rows: []mockserver.Row{{"id": 1, "code": 5, "big": big}}}
			if tc.rls {
				table.Select = everybody
			}
			if tc.identity == mockserver.IdentityIndex {
				table.IdentityColumns = []string{"code"}
			}
			bubble(t, mockserver.Config{Tables: []mockserver.Table{table}}, func(t *testing.T, s *mockserver.Server) {
				c := open(t, s, phoenix.V2)
				c.subscribed(1, "realtime:a", `[{"schema":"public","table":"t"}]`, "")
				_, err := s.Update("t", mockserver.Row{"id": 2, "code": 7}, mockserver.Row{"id": 1})
				require.NoError(t, err)
				got, _ := c.change()
				short := func(raw []byte) string { return strings.ReplaceAll(string(raw), big, "X") }
				require.Equal(t, tc.record, short(got.Data.Record), "an unchanged value out of line is not in the log")
				require.Equal(t, tc.update, short(got.Data.OldRecord))
				require.Contains(t, string(got.Data.Columns), `"big"`)
				_, err = s.Delete("t", nil)
				require.NoError(t, err)
				got, _ = c.change()
				require.Equal(t, tc.delete, short(got.Data.OldRecord))
			})
		})
	}
}

// A filter on a column that an UPDATE left out of the log suppresses the
// change.
func TestFilterOnUnchangedToast(t *testing.T) {
	big := strings.Repeat("x", 3000)
	table := mockserver.Table{Name: "t", Columns: []mockserver.Column{{Name: "id", Type: "int8"}, {Name: "big", Type: "text", Toast: true}}, PrimaryKey: []string{"id"},
		ReplicaIdentity: mockserver.IdentityFull, Rows: []mockserver.Row{{"id": 1, "big": big}}}
	bubble(t, mockserver.Config{Tables: []mockserver.Table{table}}, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", `[{"schema":"public","table":"t","filter":"big=like.x%"}]`, "")
		for _, set := range []mockserver.Row{{"id": 2}, {"id": 3, "big": big}} {
			_, err := s.Update("t", set, nil)
			require.NoError(t, err)
		}
		got, _ := c.change()
		require.Contains(t, string(got.Data.Record), `"id":3`)
		c.silent(time.Second)
	})
}

// C46: events that are errors.
func TestC46ErrorEvents(t *testing.T) {
	columns := []mockserver.Column{{Name: "id", Type: "int8"}, {Name: "a", Type: "text"}, {Name: "b", Type: "text"}}
	secret := mockserver.Table{Name: "secret", Columns: columns, PrimaryKey: []string{"id"}, Grants: map[string][]string{"anon": {"a"}}}
	bare := mockserver.Table{Name: "bare", Columns: columns, ReplicaIdentity: mockserver.IdentityFull}
	wide := mockserver.Table{Name: "wide", Columns: columns, PrimaryKey: []string{"id"}, ReplicaIdentity: mockserver.IdentityFull}
	bubble(t, mockserver.Config{Tables: []mockserver.Table{secret, bare, wide}}, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", `[{"schema":"public","table":"secret","filter":"a=eq.no"},{"schema":"public","table":"bare","filter":"a=eq.no"},{"schema":"public","table":"wide"}]`, "")
		next := func() string {
			_, m := c.change()
			_, data, _ := strings.Cut(m.Payload, `{"data":`)
			return timestamp.ReplaceAllString(data[:strings.LastIndex(data, `,"ids"`)], `"commit_timestamp":TIME`)
		}
		do := func(err error) {
			t.Helper()
			require.NoError(t, err)
		}
		for _, table := range []string{"secret", "bare"} {
			message := map[string]string{"secret": "Error 401: Unauthorized", "bare": "Error 400: Bad Request, no primary key"}[table]
			do(s.Insert(table, mockserver.Row{"id": 1, "a": "x"}))
			require.Equal(t, `{"columns":[],"commit_timestamp":null,"errors":["`+message+`"],"record":{},"schema":"public","table":"`+table+`","type":"INSERT"}`, next())
			_, err := s.Update(table, mockserver.Row{"b": "y"}, nil)
			do(err)
			require.Equal(t, `{"columns":[],"commit_timestamp":null,"errors":["`+message+`"],"old_record":{},"record":{},"schema":"public","table":"`+table+`","type":"UPDATE"}`, next())
			_, err = s.Delete(table, nil)
			do(err)
			c.silent(time.Second) // and the filter holds again
		}
		limit := strings.Repeat("x", 62)
		do(s.Insert("wide", mockserver.Row{"id": 1, "a": limit, "b": strings.Repeat("y", 1<<20)}))
		const tooLarge = `{"columns":[{"name":"id","type":"int8"},{"name":"a","type":"text"},{"name":"b","type":"text"}],"commit_timestamp":TIME,"errors":["Error 413: Payload Too Large"],`
		require.Equal(t, tooLarge+`"record":{"a":"`+limit+`","id":1},"schema":"public","table":"wide","type":"INSERT"}`, next())
		_, err := s.Update("wide", mockserver.Row{"a": limit + "x"}, nil)
		do(err)
		require.Equal(t, tooLarge+`"old_record":{"a":"`+limit+`","id":1},"record":{"id":1},"schema":"public","table":"wide","type":"UPDATE"}`, next())
		_, err = s.Update("wide", mockserver.Row{"a": nil, "b": "y"}, nil)
		do(err)
		require.Equal(t, tooLarge+`"old_record":{"id":1},"record":{"b":"y","id":1},"schema":"public","table":"wide","type":"UPDATE"}`, next(), "nulls are dropped, too")
	})
}

// Policies are asked at the poll, of the row that has the key then.
func TestPoliciesAreAskedAtThePoll(t *testing.T) {
	table := orders
	table.RLS = true
	table.Select = func(claims mockserver.Claims, row mockserver.Row) bool { return row["status"] == claims["sub"] }
	bubble(t, mockserver.Config{Tables: []mockserver.Table{table}}, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:mine", ordersBinding, s.UserToken("me", time.Hour))
		c.subscribed(2, "realtime:theirs", ordersBinding, s.UserToken("them", time.Hour))
		c.subscribed(3, "realtime:all", ordersBinding, s.ServiceKey())
		require.NoError(t, s.Insert("orders", mockserver.Row{"id": 1, "status": "me"}))
		_, err := s.Update("orders", mockserver.Row{"status": "them"}, nil)
		require.NoError(t, err)
		require.NoError(t, s.Insert("orders", mockserver.Row{"id": 2, "status": "me"}))
		_, err = s.Delete("orders", mockserver.Row{"id": 2})
		require.NoError(t, err)
		var got []string
		for range 7 {
			d, m := c.change()
			got = append(got, m.Topic+" "+d.Data.Type+" "+string(d.Data.Record))
		}
		require.Equal(t, []string{
			`realtime:theirs INSERT {"id":1,"status":"me","total":null}`, // the row as it was, since it is theirs now
			`realtime:all INSERT {"id":1,"status":"me","total":null}`,
			`realtime:theirs UPDATE {"id":1,"status":"them","total":null}`,
			`realtime:all UPDATE {"id":1,"status":"them","total":null}`,
			`realtime:mine DELETE `, `realtime:theirs DELETE `, `realtime:all DELETE `, // asked of nobody
		}, got)
		c.silent(time.Second)
	})
}

// LIKE decides which tables the names of a binding mean.
func TestBindingNamesAreLikePatterns(t *testing.T) {
	named := func(schema, name string) mockserver.Table {
		table := orders
		table.Schema, table.Name = schema, name
		return table
	}
	cfg := mockserver.Config{Tables: []mockserver.Table{named("", "order_x"), named("", "orderAx"), named("other", "order_x"), named("other", "z")}}
	for binding, want := range map[string]string{
		`{"table":"order_x"}`:                   "public.order_x public.orderAx",
		`{"schema":"public","table":"order%"}`:  "public.order_x public.orderAx",
		`{"schema":"o_her"}`:                    "other.order_x other.z",
		`{"schema":"*"}`:                        "public.order_x public.orderAx other.order_x other.z",
		`{"schema":"*","table":"*"}`:            "public.order_x public.orderAx other.order_x other.z",
		`{"schema":"%","table":"%_x"}`:          "public.order_x public.orderAx other.order_x",
		`{"schema":"public","table":"orderAx"}`: "public.orderAx",
	} {
		bubble(t, cfg, func(t *testing.T, s *mockserver.Server) {
			c := open(t, s, phoenix.V2)
			c.subscribed(1, "realtime:a", "["+binding+"]", "")
			var got []string
			for _, table := range []string{"public.order_x", "public.orderAx", "other.order_x", "other.z"} {
				require.NoError(t, s.Insert(table, mockserver.Row{"id": 1}))
			}
			for range strings.Fields(want) {
				d, _ := c.change()
				got = append(got, d.Data.Schema+"."+d.Data.Table)
			}
			require.Equal(t, want, strings.Join(got, " "), binding)
			c.silent(time.Second)
		})
	}
}
