package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
)

// pagesOf returns how many documents each page had, and the total of the first.
func pagesOf(t *testing.T, table *Table) (sizes []int, total int) {
	for page, err := range table.Pages(t.Context()) {
		require.NoError(t, err)
		sizes = append(sizes, len(page.Documents))
		total = max(total, page.Total)
	}
	return sizes, total
}

// A server that gives fewer rows than were asked for has not come to the end.
func TestPagesStopAtAnEmptyPageOnly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable(someItems(25)...)}, MaxRows: 10}, newMemorySink())
		sizes, total := pagesOf(t, w.sync.Table)
		require.Equal(t, []int{10, 10, 5}, sizes)
		require.Equal(t, 25, total)
		n, err := w.sync.Table.Count(t.Context())
		require.NoError(t, err)
		require.Equal(t, 25, n)
	})
}

// Keys and columns that mean something in PostgREST's language are read all
// the same.
func TestTableWithOddNames(t *testing.T) {
	bubble(t, func(t *testing.T) {
		keys := []string{"a,b", `quote " and \ backslash`, "(in) parentheses", "a.b", "eq.1", "*", "ü & %", " space "}
		table := mockserver.Table{
			Schema: "the shop", Name: "items", RLS: true, Select: signedIn, PrimaryKey: []string{"the.key"},
			Columns: []mockserver.Column{{Name: "the.key", Type: "text"}, {Name: "a.b, c", Type: "text"}},
		}
		for _, key := range keys {
			table.Rows = append(table.Rows, mockserver.Row{"the.key": key, "a.b, c": "value of " + key})
		}
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{table}, MaxRows: 1}, newMemorySink())
		w.sync.Table.Schema = "the shop"
		w.sync.Table.ID, w.sync.Table.Fields = "the.key", []string{"a.b, c"}
		var found []string
		for page, err := range w.sync.Table.Pages(t.Context()) {
			require.NoError(t, err)
			for _, d := range page.Documents {
				require.Equal(t, "value of "+d.ID, d.Fields["a.b, c"])
				found = append(found, d.ID)
			}
		}
		require.ElementsMatch(t, keys, found)
		for _, key := range keys {
			docs, err := w.sync.Table.Read(t.Context(), []string{key, "not there"})
			require.NoError(t, err)
			require.Len(t, docs, 1, key)
			require.Equal(t, key, docs[0].ID)
		}
	})
}

// Trouble that passes is waited for; a page in its midst is read again.
func TestTableTriesAgain(t *testing.T) {
	for name, trouble := range map[string]func() *http.Response{
		"refused token":     func() *http.Response { return answer(401, `{"code":"PGRST301","message":"JWT expired"}`) },
		"rate limit":        func() *http.Response { return answer(429, "") },
		"bad gateway":       func() *http.Response { return answer(502, "<html>") },
		"statement timeout": func() *http.Response { return answer(500, `{"code":"57014","message":"canceling statement"}`) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable(someItems(30)...)}, MaxRows: 10}, newMemorySink())
				w.meddle(func(n int, _ *http.Request) *http.Response {
					if n > 1 && n < 5 {
						return trouble()
					}
					return nil
				})
				start := time.Now()
				sizes, _ := pagesOf(t, w.sync.Table)
				require.Equal(t, []int{10, 10, 10}, sizes)
				require.Positive(t, time.Since(start))
				require.Less(t, time.Since(start), time.Minute)
			})
		})
	}
}

func TestTableGivesUp(t *testing.T) {
	for name, c := range map[string]struct {
		answer *http.Response
		want   string
	}{
		"no such column": {answer(400, `{"code":"42703","message":"column items.nam does not exist","hint":"Perhaps you meant name."}`),
			"table items: the server answered Bad Request: column items.nam does not exist (42703): Perhaps you meant name."},
		"no right":    {answer(403, `{"code":"42501","message":"permission denied for table items"}`), "permission denied for table items (42501)"},
		"not a table": {answer(404, "not JSON"), "the server answered Not Found"},
		"not rows":    {answer(200, "<html>"), "table items: invalid character"},
		"no count":    {answer(200, "[]"), "table items: the server gave no count of rows"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable()}}, newMemorySink())
				w.meddle(func(int, *http.Request) *http.Response { return c.answer })
				_, err := w.sync.Table.Count(t.Context())
				require.ErrorContains(t, err, c.want)
			})
		})
	}
}

func TestTableGivesUpOnTokensThatAreAllRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable()}}, newMemorySink())
		m := w.meddle(func(int, *http.Request) *http.Response { return answer(401, `{"message":"JWT expired"}`) })
		_, err := w.sync.Table.Read(t.Context(), []string{"1"})
		require.ErrorContains(t, err, "JWT expired")
		require.Equal(t, maxRefused+1, m.requests())
	})
}

// A token that cannot be had now is asked for again; one that never will be is
// the end.
func TestTableWaitsForAToken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable(someItems(3)...)}}, newMemorySink())
		source, asked := w.sync.Table.Token, 0
		w.sync.Table.Token = func(ctx context.Context) (string, error) {
			if asked++; asked < 4 {
				return "", errors.New("the sign-in did not answer")
			}
			return source(ctx)
		}
		n, err := w.sync.Table.Count(t.Context())
		require.NoError(t, err)
		require.Equal(t, 3, n)
		require.Equal(t, 4, asked)

		w.sync.Table.Token = func(context.Context) (string, error) {
			return "", realtime.Permanent(errors.New("the account is banned"))
		}
		_, err = w.sync.Table.Count(t.Context())
		require.ErrorContains(t, err, "table items: the account is banned")

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		w.sync.Table.Token = func(context.Context) (string, error) { return "", errors.New("the sign-in did not answer") }
		_, err = w.sync.Table.Count(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "the sign-in did not answer", "and says why it was waiting")
	})
}

// The key and the token are in the header, and in no error.
func TestTableKeepsSecrets(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable()}}, newMemorySink())
		var sent []string
		w.meddle(func(_ int, r *http.Request) *http.Response {
			require.Equal(t, w.sync.Table.Key, r.Header.Get("apikey"))
			token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
			require.NotEqual(t, w.sync.Table.Key, token)
			sent = append(sent, token, w.sync.Table.Key)
			return answer(400, `{"message":"no"}`)
		})
		_, err := w.sync.Table.Count(t.Context())
		require.Error(t, err)
		require.NotEmpty(t, sent)
		for _, secret := range sent {
			require.NotContains(t, fmt.Sprintf("%v %+v", err, err), secret)
		}
	})
}
