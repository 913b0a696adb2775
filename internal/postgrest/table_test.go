package postgrest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/postgrest"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
)

var _ postgrest.Doer = (*realtime.Client)(nil)

// nasty are texts that PostgREST's syntax gives a meaning to.
var nasty = []string{
	"", " ", "a", "A", "a,b", ",", `"`, `"a"`, `\`, `a\b`, `\"`, "(", ")", "a)b", "{a}", "null", "%", "*", "é", "😀", "a b", " a", "a ", "a\tb", "a\nb",
	"a.b", "not.eq.a", "eq.a", "in.(a)", "(a,b)", "&id=eq.1", "a=b", "#", "?", "+", "%2C", "'", "->", "\x1f", "and(a.eq.1)",
}

// spied counts requests and keeps the longest URL.
type spied struct {
	postgrest.Doer
	requests, longest int
	last              *http.Request
}

func (s *spied) Do(r *http.Request) (*http.Response, error) {
	s.requests++
	s.longest = max(s.longest, len(r.URL.String()))
	s.last = r
	return s.Doer.Do(r)
}

// tables runs a test against a server that sends 7 rows at most.
func tables(t *testing.T, f func(t *testing.T, s *mockserver.Server, client *spied)) {
	synctest.Test(t, func(t *testing.T) {
		var texts, triples, numbers []mockserver.Row
		for i, s := range nasty {
			texts = append(texts, mockserver.Row{"the key": s, "n": i})
		}
		for i := range 3 * 3 * 3 {
			triples = append(triples, mockserver.Row{"order": nasty[9+i/9], "b": i / 3 % 3, "c.d": nasty[i%3], "n": i})
		}
		for i := range 500 {
			numbers = append(numbers, mockserver.Row{"id": int64(i) * 1_000_000_000_000, "n": i, "odd": i%2 == 1})
		}
		text, int8s := "text", "int8"
		s := mockserver.Start(t, mockserver.Config{InMemory: true, MaxRows: 7, Tables: []mockserver.Table{
			{Name: "texts", Columns: []mockserver.Column{{Name: "n", Type: int8s}, {Name: "the key", Type: text}}, PrimaryKey: []string{"the key"}, Rows: texts},
			{Name: "triples", Columns: []mockserver.Column{{Name: "order", Type: text}, {Name: "b", Type: int8s}, {Name: "c.d", Type: text}, {Name: "n", Type: int8s}}, PrimaryKey: []string{"order", "b", "c.d"}, Rows: triples},
			{Schema: "other", Name: "numbers", Columns: []mockserver.Column{{Name: "id", Type: int8s}, {Name: "n", Type: int8s}, {Name: "odd", Type: "bool"}}, PrimaryKey: []string{"id"}, Rows: numbers},
			{Name: "rt_mark", Columns: []mockserver.Column{{Name: "id", Type: int8s, Default: func() any { return 5 }}, {Name: "seq", Type: int8s, Default: func() any { return 0 }}, {Name: "at", Type: "timestamptz"}}, PrimaryKey: []string{"id"}},
		}})
		c, err := realtime.New(realtime.Options{URL: s.URL(), Key: s.ServiceKey(), HTTPClient: s.HTTPClient()})
		require.NoError(t, err)
		defer c.Close(context.Background())
		f(t, s, &spied{Doer: c})
	})
}

func textTable(c postgrest.Doer) *postgrest.Table {
	return &postgrest.Table{Client: c, Name: "texts", Key: []string{"the key"}, Columns: []string{"n"}}
}

func tripleTable(c postgrest.Doer) *postgrest.Table {
	return &postgrest.Table{Client: c, Schema: "public", Name: "triples", Key: []string{"order", "b", "c.d"}}
}

func numberTable(c postgrest.Doer) *postgrest.Table {
	return &postgrest.Table{Client: c, Schema: "other", Name: "numbers", Key: []string{"id"}}
}

// walk reads all pages and returns the column n of their rows.
func walk(t *testing.T, table *postgrest.Table, limit int) (ns []int, pages []postgrest.Page) {
	t.Helper()
	var after []string
	for {
		page, err := table.Page(t.Context(), after, limit)
		require.NoError(t, err)
		if page.Last == nil {
			require.Empty(t, page.Rows)
			return ns, pages
		}
		ns, pages = append(ns, columnN(t, page)...), append(pages, page)
		after = page.Last
		require.Equal(t, after, page.Rows[len(page.Rows)-1].Key)
		require.Less(t, len(pages), 1000)
	}
}

func columnN(t *testing.T, page postgrest.Page) (ns []int) {
	t.Helper()
	for _, r := range page.Rows {
		var row struct{ N int }
		require.NoError(t, json.Unmarshal(r.JSON, &row))
		ns = append(ns, row.N)
	}
	return ns
}

func upTo(n int) (ns []int) {
	for i := range n {
		ns = append(ns, i)
	}
	return ns
}

// Every row comes once whatever its key is, though the server's pages are
// shorter than what was asked for.
func TestPages(t *testing.T) {
	tables(t, func(t *testing.T, _ *mockserver.Server, c *spied) {
		for _, limit := range []int{1, 3, 7, 1000} {
			ns, pages := walk(t, textTable(c), limit)
			require.Len(t, pages, (len(nasty)+min(limit, 7)-1)/min(limit, 7))
			sorted := slices.Sorted(slices.Values(nasty))
			for i, n := range ns {
				require.Equal(t, sorted[i], nasty[n], "in the order of the key")
			}
			require.Len(t, ns, len(nasty))

			ns, _ = walk(t, tripleTable(c), limit)
			slices.Sort(ns)
			require.Equal(t, upTo(27), ns)
		}
		ns, pages := walk(t, numberTable(c), 1000)
		require.Equal(t, upTo(500), ns)
		require.Equal(t, "6000000000000", pages[0].Last[0], "a number's own text, no float's")
		require.Equal(t, `{"id":0,"n":0,"odd":false}`, string(pages[0].Rows[0].JSON))
		require.Equal(t, -1, pages[0].Total)
		require.InDelta(t, 7*40, pages[0].Bytes, 100)
	})
}

func TestPageWithFilterAndTotal(t *testing.T) {
	tables(t, func(t *testing.T, _ *mockserver.Server, c *spied) {
		filter, err := cdc.And(cdc.Eq("odd", true), cdc.Gt("id", 10_000_000_000_000), cdc.Lte("n", 51)).Query()
		require.NoError(t, err)
		table := numberTable(c)
		table.Filter, table.Total = filter, true
		ns, pages := walk(t, table, 5)
		require.Len(t, ns, 21)
		require.Equal(t, 11, ns[0])
		require.Equal(t, 21, pages[0].Total)
		require.Equal(t, -1, pages[1].Total, "counting is for the first page")
		require.Len(t, filter["id"], 1, "the filter is left alone")
		n, err := table.Count(t.Context())
		require.NoError(t, err)
		require.Equal(t, 21, n)

		rows, err := table.ByKeys(t.Context(), [][]string{{"11000000000000"}, {"12000000000000"}, {"9000000000000"}})
		require.NoError(t, err)
		require.Equal(t, []int{11}, columnN(t, rows), "what has left the filter is gone")
	})
}

func TestPageMistakes(t *testing.T) {
	c := &spied{}
	ctx := t.Context()
	for _, f := range []func() error{
		func() error { _, err := numberTable(c).Page(ctx, nil, 0); return err },
		func() error { _, err := numberTable(c).Page(ctx, []string{"1", "2"}, 1); return err },
		func() error { _, err := numberTable(c).Page(ctx, []string{}, 1); return err },
		func() error { _, err := numberTable(c).ByKeys(ctx, [][]string{{"1"}, {}}); return err },
		func() error { _, err := numberTable(c).Update(ctx, []string{"1", "2"}, nil); return err },
		func() error { _, err := numberTable(c).Insert(ctx, func() {}); return err },
		func() error { return numberTable(c).Call(ctx, "f", func() {}, nil) },
		func() error {
			_, err := (&postgrest.Table{Schema: "other", Name: "numbers"}).Page(ctx, nil, 1)
			return err
		},
		func() error {
			_, err := (&postgrest.Table{Schema: "other", Name: "numbers"}).ByKeys(ctx, nil)
			return err
		},
	} {
		err := f()
		require.Error(t, err)
		require.Regexp(t, `^postgrest: other\.(numbers|f\(\)): `, err.Error())
	}
	require.Zero(t, c.requests)
}

func TestByKeys(t *testing.T) {
	tables(t, func(t *testing.T, _ *mockserver.Server, c *spied) {
		var keys [][]string
		for _, s := range nasty {
			keys = append(keys, []string{s})
			rows, err := textTable(c).ByKeys(t.Context(), [][]string{{s}})
			require.NoError(t, err)
			require.Len(t, rows.Rows, 1, "%q", s)
			require.Equal(t, []string{s}, rows.Rows[0].Key)
		}
		rows, err := textTable(c).ByKeys(t.Context(), append(keys, []string{"none"}, []string{"such"}))
		require.NoError(t, err)
		ns := columnN(t, rows)
		slices.Sort(ns)
		require.Equal(t, upTo(len(nasty)), ns, "with 7 rows in an answer")

		_, pages := walk(t, tripleTable(c), 7)
		keys = [][]string{{"nobody", "1", ""}}
		for _, p := range pages {
			for _, r := range p.Rows {
				keys = append(keys, r.Key)
			}
		}
		rows, err = tripleTable(c).ByKeys(t.Context(), keys)
		require.NoError(t, err)
		ns = columnN(t, rows)
		slices.Sort(ns)
		require.Equal(t, upTo(27), ns)

		c.requests = 0
		rows, err = numberTable(c).ByKeys(t.Context(), [][]string{{"1"}, {"2"}, {"3"}})
		require.NoError(t, err)
		require.Empty(t, rows.Rows)
		require.Nil(t, rows.Last)
		require.Equal(t, 1, c.requests, "the count tells that they are gone")
		rows, err = numberTable(c).ByKeys(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, rows.Rows)
		require.Equal(t, 1, c.requests)
	})
}

func TestByKeysKeepsURLsShort(t *testing.T) {
	tables(t, func(t *testing.T, _ *mockserver.Server, c *spied) {
		random := rand.New(rand.NewPCG(1, 2))
		var keys, triples [][]string
		for i := range 500 {
			keys = append(keys, []string{fmt.Sprint(int64(i) * 1_000_000_000_000)})
			triples = append(triples, []string{nasty[9+random.IntN(3)], fmt.Sprint(random.IntN(3)), nasty[random.IntN(3)]})
		}
		rows, err := numberTable(c).ByKeys(t.Context(), keys)
		require.NoError(t, err)
		ns := columnN(t, rows)
		slices.Sort(ns)
		require.Equal(t, upTo(500), ns)
		require.LessOrEqual(t, c.longest, 4096)
		require.Greater(t, c.longest, 3900)

		c.longest = 0
		_, err = tripleTable(c).ByKeys(t.Context(), triples)
		require.NoError(t, err)
		require.LessOrEqual(t, c.longest, 4096)
		require.Greater(t, c.longest, 3900)

		long := strings.Repeat("x", 5000)
		_, err = textTable(c).ByKeys(t.Context(), [][]string{{long}, {"a"}, {long + "y"}})
		require.NoError(t, err, "a key is asked for however long it is")
	})
}

// A server whose texts of keys are not those that were asked for makes no loop.
func TestByKeysEnds(t *testing.T) {
	c := canned{func(*http.Request) (*http.Response, error) {
		return answer(206, `[{"id":"abc"}]`, "Content-Range", "0-0/2"), nil
	}}
	rows, err := (&postgrest.Table{Client: c, Name: "t", Key: []string{"id"}}).ByKeys(t.Context(), [][]string{{"ABC"}, {"DEF"}})
	require.NoError(t, err)
	require.Len(t, rows.Rows, 1)
}

func TestWrites(t *testing.T) {
	tables(t, func(t *testing.T, _ *mockserver.Server, c *spied) {
		marks := &postgrest.Table{Client: c, Schema: "public", Name: "rt_mark", Key: []string{"id"}, Columns: []string{"seq"}}
		row, err := marks.Insert(t.Context(), struct{}{})
		require.NoError(t, err)
		require.Equal(t, []string{"5"}, row.Key)
		require.JSONEq(t, `{"id":5,"seq":0}`, string(row.JSON))
		row, err = marks.Update(t.Context(), row.Key, map[string]any{"seq": 8})
		require.NoError(t, err)
		require.JSONEq(t, `{"id":5,"seq":8}`, string(row.JSON))

		_, err = marks.Update(t.Context(), []string{"6"}, map[string]any{"seq": 8})
		require.ErrorIs(t, err, postgrest.ErrNoRow)
		_, err = marks.Insert(t.Context(), struct{}{})
		var e *postgrest.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, "23505", e.Code)
		require.False(t, e.Temporary())
		n, err := marks.Count(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, n)
	})
}

func TestCall(t *testing.T) {
	var seen *http.Request
	body := `{"rows":[{"id":1},{"id":"2"}],"seq":17}`
	c := canned{func(r *http.Request) (*http.Response, error) {
		seen = r
		return answer(200, body), nil
	}}
	table := &postgrest.Table{Client: c, Schema: "public", Name: "orders", Key: []string{"id"}}
	var chunk struct {
		Rows []json.RawMessage
		Seq  int
	}
	require.NoError(t, table.Call(t.Context(), "rt chunk", map[string]any{"rel": "orders"}, &chunk))
	require.Equal(t, "/rest/v1/rpc/rt%20chunk", seen.URL.String())
	require.Equal(t, "public", seen.Header.Get("Content-Profile"))
	require.Equal(t, "application/json", seen.Header.Get("Content-Type"))
	require.Equal(t, 17, chunk.Seq)
	require.JSONEq(t, `{"id":"2"}`, string(chunk.Rows[1]))

	for _, body = range []string{body[:20], "", body + "{}", body + "x"} {
		err := table.Call(t.Context(), "f", nil, &chunk)
		var e *postgrest.Error
		require.ErrorAs(t, err, &e, body)
		require.True(t, e.Temporary(), body)
		require.Equal(t, "public.f()", e.Table)
	}
	body = `{"seq":"seventeen"}`
	var e *postgrest.Error
	require.ErrorAs(t, table.Call(t.Context(), "f", nil, &chunk), &e)
	require.False(t, e.Temporary(), "it will be the same the next time")
	body = ""
	require.NoError(t, table.Call(t.Context(), "f", nil, nil))
}

// Columns are named in quotes where the syntax would read something else.
func TestQueries(t *testing.T) {
	var asked []string
	c := canned{func(r *http.Request) (*http.Response, error) {
		require.NotContains(t, r.URL.RawQuery, "+", "a space is %20")
		q, err := url.PathUnescape(r.URL.RawQuery)
		require.NoError(t, err)
		asked = append(asked, q)
		return answer(200, "[]"), nil
	}}
	table := &postgrest.Table{Client: c, Name: "a/b", Key: []string{"a", "order", "c"}, Columns: []string{"c", "d e", `f"\g`}, Filter: url.Values{"or": {"(x.eq.1,y.eq.2)"}}}
	_, err := table.Page(t.Context(), []string{"1", "", `x",y`}, 10)
	require.NoError(t, err)
	_, err = table.ByKeys(t.Context(), [][]string{{"1", "2", "3"}, {"(", "2.5", "c-d"}})
	require.NoError(t, err)
	const sel = `select=a,"order",c,"d e","f\"\\g"`
	require.Equal(t, []string{
		sel + `&or=(x.eq.1,y.eq.2)&order=a,"order",c&limit=10&a=gte.1&or=(a.gt.1,and(a.eq.1,or("order".gt."",and("order".eq."",c.gt."x\",y"))))`,
		sel + `&or=(x.eq.1,y.eq.2)&or=(and(a.eq.1,"order".eq.2,c.eq.3),and(a.eq."(","order".eq.2.5,c.eq.c-d))`,
	}, asked)
}

func TestSplitRows(t *testing.T) {
	table := &postgrest.Table{Schema: "s", Name: "t", Key: []string{"b", "a"}}
	for row, want := range map[string][]string{
		`{"a":1,"b":2}`: {"2", "1"},
		` { "x" : {"a":9,"b":[{}]} , "a" : "x\"é\u00e9\ud83d\ude00" , "b" : -1.50e3 } `: {"-1.50e3", `x"éé😀`},
		`{"b":true,"y":"a\\","z":[],"\u0061":false}`:                                    {"true", "false"},
		"{\"b\":1\n,\t\"a\":\"\"\r\n}":                                                  {"1", ""},
	} {
		require.True(t, json.Valid([]byte(row)))
		rows, err := table.SplitRows([]byte("[" + row + "]"))
		require.NoError(t, err, row)
		require.Equal(t, []postgrest.Row{{JSON: json.RawMessage(strings.TrimSpace(row)), Key: want}}, rows, row)
	}
	for _, row := range []string{`{}`, `[]`, `null`, `"a"`, `{"a":1}`, `{"a":1,"b":null}`, `{"a":1,"b":[1]}`, `{"a":1,"b":{"c":1}}`} {
		_, err := table.SplitRows([]byte("[" + row + "]"))
		require.ErrorContains(t, err, "postgrest: s.t: ", row)
	}
}

// What the quick reader of rows finds is what encoding/json does.
func FuzzSplitRows(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":{"a":[2,"]"]},"c":"\\\""}`))
	f.Add([]byte(" {\"\\u0061\" :\"}\" , \"b\":[ ] }"))
	table := &postgrest.Table{Name: "t", Key: []string{"a"}}
	f.Fuzz(func(t *testing.T, row []byte) {
		var all map[string]json.RawMessage
		if json.Unmarshal(row, &all) != nil || strings.Count(string(row), `"a"`)+strings.Count(string(row), `\u`) > 1 {
			return // not JSON, or a name that may be there twice
		}
		rows, err := table.SplitRows(slices.Concat([]byte("["), row, []byte("]")))
		value, ok := all["a"]
		if !ok || strings.ContainsAny(string(value[:1]), "n[{") {
			require.Error(t, err)
			return
		}
		want := string(value)
		if value[0] == '"' {
			require.NoError(t, json.Unmarshal(value, &want))
		}
		require.NoError(t, err)
		require.Equal(t, want, strings.ToValidUTF8(rows[0].Key[0], "\uFFFD"))
	})
}
