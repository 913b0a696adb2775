package cdc_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
)

func TestQueryText(t *testing.T) {
	for want, f := range map[string]cdc.Filter{
		``:                              {},
		`id=eq.1`:                       cdc.Eq("id", 1),
		`id=gt.1&id=lt.4&n=not.is.null`: cdc.And(cdc.Gt("id", 1), cdc.Not(cdc.IsNull("n")), cdc.Lt("id", 4)),
		`s=eq."a,b"`:                    cdc.Eq("s", `"a,b"`),
		`s=eq.`:                         cdc.Eq("s", ""),
		`s=not.eq.a`:                    cdc.Not(cdc.In("s", "a")),
		`s=in.("","a,b","\\\"",x1)`:     cdc.In("s", "", "a,b", `\"`, "x1"),
		`s=not.in.(a,b)`:                cdc.Not(cdc.In("s", "a", "b")),
		`s=ilike.a%_`:                   cdc.ILike("s", "a%_"),
		`s=match.a*`:                    cdc.Match("s", "a*"),
		`s=isdistinct.null`:             cdc.IsDistinct("s", "null"),
		`b=is.null`:                     cdc.IsNull("b"),
		`"order"=eq.1`:                  cdc.Eq("order", 1),
		`"a.or"=eq.1`:                   cdc.Eq("a.or", 1),
		`"x->y"=eq.1`:                   cdc.Eq("x->y", 1),
		`"back\\slash"=eq.1`:            cdc.Eq(`back\slash`, 1),
	} {
		q, err := f.Query()
		require.NoError(t, err)
		got, err := url.QueryUnescape(q.Encode())
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestQueryMistakes(t *testing.T) {
	_, err := cdc.In("a").Query()
	require.Equal(t, cdc.In("a").Err(), err)
	for _, f := range []cdc.Filter{cdc.Like("name", "a*"), cdc.Not(cdc.ILike("name", `\*`)), cdc.And(cdc.Eq("id", 1), cdc.Like("name", "*"))} {
		q, err := f.Query()
		var refused *cdc.ColumnError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, "name", refused.Column)
		require.EqualError(t, err, `cdc: column "name": PostgREST takes the * of a pattern for %, so that it cannot be asked for this`)
		require.Nil(t, q)
	}
}

// nasty are texts that one or the other syntax gives a meaning to.
var nasty = []string{
	"", " ", "a", "A", "b", "a,b", ",", `"`, `"a"`, `"a`, `\`, `a\b`, `\"`, "(", ")", "(a)", "a)b", "{a}", "null", "NULL", "true", "%", "*", "a*b", "a%b", "_",
	"é", "É", "😀", "a b", " a", "a ", "a\tb", "a\nb", "a.b", "not.eq.a", "eq.a", "in.(a)", "(a,b)", "&id=eq.1", "a=b", "#", "?", "+", "%25", "%2C", "' or 1=1 --", "->", "::text",
}

// oddColumns are names that PostgREST gives a meaning to.
var oddColumns = []string{"order", "select", "and", "not", "a.b", "a.limit", "x->y", "p(q)", "two words", `back\slash`, "Größe", "a:b", "*a", "a-b", "1"}

func nastyServer(t *testing.T) *mockserver.Server {
	columns := []mockserver.Column{{Name: "id", Type: "int8"}, {Name: "s", Type: "text"}, {Name: "n", Type: "numeric"}, {Name: "b", Type: "bool"}, {Name: "at", Type: "timestamptz"}}
	for _, name := range oddColumns {
		columns = append(columns, mockserver.Column{Name: name, Type: "text"})
	}
	return mockserver.Start(t, mockserver.Config{
		InMemory: true, Timing: mockserver.Fast(),
		Tables: []mockserver.Table{{Name: "things", Columns: columns, PrimaryKey: []string{"id"}}},
	})
}

// nastyRows has a row for each text, with the other columns in all their states.
func nastyRows() (rows []mockserver.Row) {
	for i, s := range nasty {
		r := mockserver.Row{"id": i, "s": s, "n": i, "b": []any{true, false, nil}[i%3], "at": utc(2024, 1, 1+i, 0, 0, 0, 567891000)}
		for j, name := range oddColumns {
			r[name] = nasty[(i+j)%len(nasty)]
		}
		rows = append(rows, r)
	}
	return append(rows, mockserver.Row{"id": len(nasty)}) // and one of nulls
}

// everyFilter is each operator with each text, and its opposite.
func everyFilter() (filters []cdc.Filter) {
	add := func(f cdc.Filter) {
		if f.Err() == nil || !strings.Contains(f.Err().Error(), "backslash") { // of a pattern's end, where the server fails
			filters = append(filters, f, cdc.Not(f))
		}
	}
	for i, s := range nasty {
		for _, op := range []func(string, any) cdc.Filter{cdc.Eq, cdc.Neq, cdc.Lt, cdc.Lte, cdc.Gt, cdc.Gte, cdc.IsDistinct} {
			add(op("s", cdc.Literal(s)))
		}
		for _, op := range []func(string, string) cdc.Filter{cdc.Like, cdc.ILike} {
			add(op("s", s))
			add(op("s", "%"+s+"%"))
		}
		add(cdc.Match("s", "^"+regexp.QuoteMeta(s)))
		add(cdc.IMatch("s", regexp.QuoteMeta(s)+"$"))
		add(cdc.In("s", cdc.Literal(s)))
		add(cdc.In("s", cdc.Literal(s), cdc.Literal(nasty[(i+7)%len(nasty)]), cdc.Literal("x")))
		add(cdc.Eq(oddColumns[i%len(oddColumns)], cdc.Literal(s)))
		filters = append(filters, cdc.And(cdc.Gt("s", cdc.Literal(s)), cdc.Neq("s", "a b"), cdc.Lte("s", cdc.Literal("{a}"))))
	}
	for _, f := range []cdc.Filter{cdc.IsNull("s"), cdc.IsNull("b"), cdc.Eq("b", true), cdc.Eq("b", false), cdc.IsDistinct("b", true), cdc.IsDistinct("b", false)} {
		add(f)
	}
	for _, name := range oddColumns {
		add(cdc.IsNull(name))
		add(cdc.In(name, nasty[1], nasty[5], nasty[9]))
	}
	add(cdc.Gte("n", json.Number("7.0")))
	add(cdc.Gt("at", utc(2024, 1, 9, 0, 0, 0, 567891000)))
	return append(filters, cdc.Filter{}, cdc.And(cdc.Gt("id", 3), cdc.Lt("id", 40), cdc.Not(cdc.In("id", 5, 6)), cdc.IsDistinct("b", true)))
}

// What a subscription delivers of rows that are inserted is what the REST API
// finds of them.
func TestQueryFindsWhatASubscriptionDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := nastyServer(t)
		client, err := realtime.New(realtime.Options{URL: s.URL(), Key: s.ServiceKey(), HTTPClient: s.HTTPClient()})
		require.NoError(t, err)
		defer client.Close(t.Context())
		var asked []cdc.Filter
		for _, f := range everyFilter() {
			if _, err := f.Query(); err == nil {
				asked = append(asked, f)
			} else {
				require.ErrorAs(t, err, new(*cdc.ColumnError))
			}
		}
		require.Greater(t, len(asked), 1000)
		delivered := deliver(t, client, asked, func() { require.NoError(t, s.Insert("things", nastyRows()...)) })
		some := 0
		for i, f := range asked {
			found := read(t, client, f)
			require.Equal(t, delivered[i], found, "%s", f)
			if len(found) > 0 {
				some++
			}
		}
		require.Greater(t, some, len(asked)/2, "filters that find nothing agree easily")
	})
}

// deliver returns the ids of what each filter lets through of what happen does.
func deliver(t *testing.T, client *realtime.Client, filters []cdc.Filter, happen func()) [][]int {
	const perChannel = 100
	ids := make([][]int, len(filters))
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	for i := 0; i < len(filters); i += perChannel {
		ch, err := client.Channel(string(rune('a' + i/perChannel)))
		require.NoError(t, err)
		subs := make([]*channel.Subscription, min(perChannel, len(filters)-i))
		for j := range subs {
			subs[j], err = ch.Subscribe(channel.Binding{Table: "things", Filter: filters[i+j]})
			require.NoError(t, err)
		}
		for j, sub := range subs {
			done.Go(func() { // ends with ctx
				for change := range sub.Changes(ctx) {
					var row struct{ ID int }
					if change.Gap == nil && json.Unmarshal(change.Record, &row) == nil {
						ids[i+j] = append(ids[i+j], row.ID)
					}
				}
			})
		}
		require.NoError(t, ch.WaitLive(ctx))
	}
	happen()
	time.Sleep(time.Minute) // until all of it has come
	synctest.Wait()
	cancel()
	done.Wait()
	for _, list := range ids {
		slices.Sort(list)
	}
	return ids
}

// read returns the ids of the rows that the REST API finds.
func read(t *testing.T, client *realtime.Client, f cdc.Filter) (ids []int) {
	q, err := f.Query()
	require.NoError(t, err)
	q.Set("select", "id")
	q.Set("order", "id")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/rest/v1/things?"+q.Encode(), nil)
	require.NoError(t, err)
	answer, err := client.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	require.Equal(t, http.StatusOK, answer.StatusCode, "%s", f)
	var rows []struct{ ID int }
	require.NoError(t, json.NewDecoder(answer.Body).Decode(&rows))
	for _, row := range rows {
		ids = append(ids, row.ID)
	}
	return ids
}
