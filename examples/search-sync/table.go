package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/realtime"
)

// Table reads the rows of a table over a project's REST API. It is safe for
// concurrent use.
type Table struct {
	URL   string // of the project
	Key   string
	Token func(context.Context) (string, error)
	Retry *retrying

	Schema, Name string
	ID           string   // the column of the primary key
	Fields       []string // the columns that the index has
	PageSize     int      // the server may give fewer
}

// Rows are some rows of the table.
type Rows struct {
	Documents []Document
	Total     int // rows in the table; in the first page only, 0 in the others
}

// Pages reads the table in the order of its primary key. Each page begins
// behind the last row of the page before, so that rows which come and go
// meanwhile move none of the others out of it. A short page is not the last
// one, since the server may have a limit of its own; an empty page is.
func (t *Table) Pages(ctx context.Context) iter.Seq2[Rows, error] {
	return func(yield func(Rows, error) bool) {
		query := url.Values{"select": {t.columns()}, "order": {quoteName(t.ID) + ".asc"}, "limit": {strconv.Itoa(t.PageSize)}}
		count := true
		for {
			page, err := t.page(ctx, query, count)
			if err != nil {
				yield(Rows{}, err)
				return
			}
			if len(page.Documents) == 0 || !yield(page, nil) {
				return
			}
			last := page.Documents[len(page.Documents)-1].ID
			query.Set(quoteName(t.ID), "gt."+last)
			count = false
		}
	}
}

// Read reads rows by their primary keys. Those that are not there, or that a
// policy hides, are not in the result.
func (t *Table) Read(ctx context.Context, ids []string) ([]Document, error) {
	var found []Document
	for some := range slices.Chunk(ids, 100) { // as many as fit into a URL
		quoted := make([]string, len(some))
		for i, id := range some {
			quoted[i] = quoteName(id)
		}
		page, err := t.page(ctx, url.Values{"select": {t.columns()}, quoteName(t.ID): {"in.(" + strings.Join(quoted, ",") + ")"}}, false)
		if err != nil {
			return nil, err
		}
		found = append(found, page.Documents...)
	}
	return found, nil
}

// Count returns how many rows the table has.
func (t *Table) Count(ctx context.Context) (int, error) {
	page, err := t.page(ctx, url.Values{"select": {quoteName(t.ID)}, "limit": {"0"}}, true)
	return page.Total, err
}

// exact reports whether a change has every column of the index as the table
// has it. Realtime leaves out values that are stored out of line and were not
// changed, cuts char(n) to one character, sends null for NaN, and writes bytea
// in another way than the REST API.
func (t *Table) exact(c cdc.Change, r row) bool {
	for _, name := range t.Fields {
		v, there := r[name]
		i := slices.IndexFunc(c.Columns, func(col cdc.Column) bool { return col.Name == name })
		if !there || i < 0 {
			return false
		}
		col := c.Columns[i]
		switch caveat := col.Caveat(); {
		case caveat == cdc.Truncated, caveat == cdc.NullOrNaN && string(v) == "null", col.Type == "bytea":
			return false
		}
	}
	return true
}

func (t *Table) columns() string {
	var names []string
	for _, name := range append([]string{t.ID}, t.Fields...) {
		if quoted := quoteName(name); !slices.Contains(names, quoted) {
			names = append(names, quoted)
		}
	}
	return strings.Join(names, ",")
}

// quoteName writes a name, or a value in a list, so that PostgREST does not
// take a part of it for its own language.
func quoteName(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func (t *Table) page(ctx context.Context, query url.Values, count bool) (Rows, error) {
	answer, body, err := t.get(ctx, query, count)
	if err != nil {
		return Rows{}, fmt.Errorf("table %s: %w", t.Name, err)
	}
	var rows []row
	if err := json.Unmarshal(body, &rows); err != nil {
		return Rows{}, fmt.Errorf("table %s: %w", t.Name, err)
	}
	page := Rows{Documents: make([]Document, len(rows))}
	if count { // as in 0-999/5731
		_, total, _ := strings.Cut(answer.Header.Get("Content-Range"), "/")
		if page.Total, err = strconv.Atoi(total); err != nil {
			return Rows{}, fmt.Errorf("table %s: the server gave no count of rows: %w", t.Name, err)
		}
	}
	for i, r := range rows {
		id, ok := rowID(r, t.ID)
		if !ok {
			return Rows{}, fmt.Errorf("table %s: column %q is neither a number nor text: %s", t.Name, t.ID, r[t.ID])
		}
		if page.Documents[i], err = newDocument(id, r, t.Fields); err != nil {
			return Rows{}, fmt.Errorf("table %s: %w", t.Name, err)
		}
	}
	return page, nil
}

// maxRefused is how many times in a row a token may be refused.
const maxRefused = 5

// get makes a request. A token that cannot be had now may be had later; one
// that is refused may have expired on its way, and the next may be better; one
// that is refused again and again will not be.
func (t *Table) get(ctx context.Context, query url.Values, count bool) (*http.Response, []byte, error) {
	client := &http.Client{Transport: t.Retry}
	for n, refused := 0, 0; ; n++ {
		token, why := t.Token(ctx)
		switch {
		case why == nil:
			r, err := t.request(ctx, token, query, count)
			if err != nil {
				return nil, nil, err
			}
			answer, err := client.Do(r)
			if err != nil {
				return nil, nil, err
			}
			body, err := io.ReadAll(answer.Body) // which is in memory
			_ = answer.Body.Close()
			if err == nil && answer.StatusCode < 300 {
				return answer, body, nil
			}
			why = cmp.Or(err, refusal(answer, body))
			if refused++; answer.StatusCode != http.StatusUnauthorized || refused > maxRefused {
				return nil, nil, why
			}
		case realtime.IsPermanent(why):
			return nil, nil, why
		}
		wait := fullJitter(n)
		t.Retry.notify(why, wait)
		if err := sleep(ctx, wait); err != nil {
			return nil, nil, errors.Join(err, why)
		}
	}
}

func (t *Table) request(ctx context.Context, token string, query url.Values, count bool) (*http.Request, error) {
	address := strings.TrimRight(t.URL, "/") + "/rest/v1/" + url.PathEscape(t.Name) + "?" + query.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("apikey", t.Key)
	if token != t.Key || !strings.HasPrefix(t.Key, "sb_") { // a key of that kind is no token
		r.Header.Set("Authorization", "Bearer "+token)
	}
	r.Header.Set("Accept-Profile", t.Schema)
	if count {
		r.Header.Set("Prefer", "count=exact")
	}
	return r, nil
}

// refusal is the error of an answer that is not one with rows.
func refusal(answer *http.Response, body []byte) error {
	var said struct{ Code, Message, Hint string }
	if json.Unmarshal(body, &said) != nil || said.Message == "" {
		return fmt.Errorf("the server answered %s", answer.Status)
	}
	text := said.Message
	if said.Code != "" {
		text += " (" + said.Code + ")"
	}
	if said.Hint != "" {
		text += ": " + said.Hint
	}
	return fmt.Errorf("the server answered %s: %s", answer.Status, text)
}
