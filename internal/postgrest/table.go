// Package postgrest reads and writes a table through PostgREST, the REST API
// of a Supabase project, as far as a cache of the table needs it: pages in the
// order of the primary key, rows by their keys, counts, single writes, calls of
// functions, and what the table looks like.
//
// Keys are texts, one for each column of the key, as PostgreSQL's
// to_jsonb(column) #>> '{}' writes them: the content of a JSON string, the
// text of a number, true or false. See [KeyCodec] for those of a Go type.
//
// A failed request is an [*Error]; its Temporary tells whether another try has
// a chance. Nothing is tried again here. No error holds a URL, a key or a token.
package postgrest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Doer makes requests to a project with its key and token. Their URLs have
// neither scheme nor host. A *realtime.Client is one.
type Doer interface {
	Do(r *http.Request) (*http.Response, error)
}

// Table is a table of a project. Its fields are not to be changed once it is
// used; its methods are safe for concurrent use then. A method that takes a
// context blocks until the answer has been read, the context ends, or the answer
// makes no progress (see Stall).
type Table struct {
	Client Doer
	Schema string // empty: the first that the API exposes
	Name   string
	// Key is the columns of the key, in the order of their index. Rows are read
	// in their order.
	Key []string
	// Columns are what is read of a row, and those of Key. Empty: all.
	Columns []string
	// Filter narrows the rows that Page, ByKeys and Count are about, such as
	// cdc.Filter's Query has it.
	Filter url.Values
	// Total asks for the number of rows with the first page, which makes the
	// server count them.
	Total bool
	// MaxBytes is the size over which an answer is ErrTooLarge. 0: 64 MiB.
	MaxBytes int64
	// Stall is how long an answer may make no progress: its head has to come
	// within that time, then 4 KiB of its body in each, or its end, and the whole
	// within 15 of them. Otherwise the error is ErrNoProgress. 0: 40 s.
	Stall time.Duration
}

// Row is a row as the server wrote it, and its key.
type Row struct {
	JSON json.RawMessage
	Key  []string
}

// Page is some rows of a table.
type Page struct {
	Rows  []Row
	Last  []string // the key of the last row; nil: the page is empty, and the table at its end
	Bytes int64    // the size of the answer
	Total int      // how many rows there are, this page and all after it; -1: not asked for
}

const (
	// standardMaxBytes is Table.MaxBytes if it is not set.
	standardMaxBytes = 64 << 20
	// maxURL is how long a URL gets before a request is made two: the limits of
	// servers and proxies begin at 4 KB or 8 KB.
	maxURL = 4000
)

// Page returns the rows behind the key after, nil for the first ones, in the
// order of the key, at most limit. There may be fewer though there are more to
// come, as the server has a limit of its own: only an empty page is the end.
func (t *Table) Page(ctx context.Context, after []string, limit int) (Page, error) {
	switch {
	case len(t.Key) == 0:
		return Page{}, t.mistake("it has no key")
	case after != nil && len(after) != len(t.Key):
		return Page{}, t.mistake("%d values for a key of %d columns", len(after), len(t.Key))
	case limit <= 0:
		return Page{}, t.mistake("a page of %d rows", limit)
	}
	q := t.query()
	names := make([]string, len(t.Key))
	for i, column := range t.Key {
		names[i] = name(column)
	}
	q.add("order", strings.Join(names, ","))
	q.add("limit", strconv.Itoa(limit))
	if after != nil {
		addAfter(&q, t.Key, after)
	}
	return t.rows(ctx, q, t.Total && after == nil)
}

// ByKeys returns those of the rows with these keys that there are and that meet
// the filter, in no particular order. It makes as many requests as it needs for
// URLs of ordinary length, and for a server that limits the rows of an answer.
func (t *Table) ByKeys(ctx context.Context, keys [][]string) (Page, error) {
	if len(t.Key) == 0 {
		return Page{}, t.mistake("it has no key")
	}
	for _, key := range keys {
		if len(key) != len(t.Key) {
			return Page{}, t.mistake("%d values for a key of %d columns", len(key), len(t.Key))
		}
	}
	all := Page{Total: -1}
	for len(keys) > 0 {
		n := t.fitting(keys)
		if err := t.someKeys(ctx, keys[:n], &all); err != nil {
			return Page{}, err
		}
		keys = keys[n:]
	}
	if len(all.Rows) > 0 {
		all.Last = all.Rows[len(all.Rows)-1].Key
	}
	return all, nil
}

// someKeys adds the rows of so many keys as fit into one URL. The answer may
// have only the first of them: a row counts as gone only when the server has
// said that there are no more than it sent, or sends none of those left.
func (t *Table) someKeys(ctx context.Context, keys [][]string, all *Page) error {
	for len(keys) > 0 {
		q := t.query()
		addKeys(&q, t.Key, keys)
		page, err := t.rows(ctx, q, true)
		if err != nil {
			return err
		}
		all.Rows = append(all.Rows, page.Rows...)
		all.Bytes += page.Bytes
		left := without(keys, page.Rows)
		if page.Total == len(page.Rows) || len(left) == len(keys) {
			return nil
		}
		keys = left
	}
	return nil
}

// KeyText makes one text of the texts of a key, another one for each key.
func KeyText(key []string) string {
	var s strings.Builder
	for _, text := range key {
		fmt.Fprintf(&s, "%d:%s", len(text), text)
	}
	return s.String()
}

// without returns the keys that no row has.
func without(keys [][]string, rows []Row) (left [][]string) {
	have := make(map[string]bool, len(rows))
	for _, row := range rows {
		have[KeyText(row.Key)] = true
	}
	for _, key := range keys {
		if !have[KeyText(key)] {
			left = append(left, key)
		}
	}
	return left
}

// fitting returns how many of the keys fit into one URL; at least one.
func (t *Table) fitting(keys [][]string) int {
	q := t.query()
	addKeys(&q, t.Key, keys[:1])
	size := len(t.path()) + len(q.encode())
	for i, key := range keys[1:] {
		if size += len(escaped("," + keyTerm(t.Key, key))); size > maxURL {
			return i + 1
		}
	}
	return len(keys)
}

// Count returns how many rows there are.
func (t *Table) Count(ctx context.Context) (int, error) {
	q := t.query()
	q.add("limit", "1") // of a body that HEAD does not send
	answer, err := t.send(ctx, request{method: http.MethodHead, path: t.path(), query: q, prefer: "count=exact"})
	if err != nil {
		return 0, err
	}
	_ = answer.Body.Close()
	total := totalOf(answer.Header)
	if total < 0 {
		return 0, t.failure(errors.New("the answer has no count"))
	}
	return total, nil
}

// Insert adds a row, given as a JSON object, and returns it as it is then.
func (t *Table) Insert(ctx context.Context, row any) (Row, error) {
	return t.write(ctx, http.MethodPost, t.selection(), row)
}

// Update sets columns of the row with this key, given as a JSON object, and
// returns the row as it is then. The error is ErrNoRow if there is none that
// may be updated. The table's filter does not count.
func (t *Table) Update(ctx context.Context, key []string, columns any) (Row, error) {
	q, err := t.ofKey(key)
	if err != nil {
		return Row{}, err
	}
	return t.write(ctx, http.MethodPatch, q, columns)
}

// Upsert is Insert, but updates the row if there is one of its primary key.
func (t *Table) Upsert(ctx context.Context, row any) (Row, error) {
	return t.write(ctx, http.MethodPost, t.selection(), row, "resolution=merge-duplicates")
}

// Delete deletes the row with this key and returns it as it was. The error is
// ErrNoRow if there is none that may be deleted.
func (t *Table) Delete(ctx context.Context, key []string) (Row, error) {
	q, err := t.ofKey(key)
	if err != nil {
		return Row{}, err
	}
	return t.write(ctx, http.MethodDelete, q, nil)
}

// ofKey is the query for the row with this key.
func (t *Table) ofKey(key []string) (query, error) {
	if len(t.Key) == 0 || len(key) != len(t.Key) {
		return nil, t.mistake("%d values for a key of %d columns", len(key), len(t.Key))
	}
	q := t.selection()
	for i, column := range t.Key {
		q.add(name(column), "eq."+key[i])
	}
	return q, nil
}

func (t *Table) write(ctx context.Context, method string, q query, content any, prefer ...string) (Row, error) {
	var body []byte
	if content != nil {
		var err error
		if body, err = json.Marshal(content); err != nil {
			return Row{}, t.mistake("%w", err)
		}
	}
	page, err := t.readRows(ctx, request{method: method, path: t.path(), query: q, body: body,
		prefer: strings.Join(append(prefer, "return=representation"), ",")})
	switch {
	case err != nil:
		return Row{}, err
	case len(page.Rows) == 0:
		return Row{}, t.mistake("%w", ErrNoRow)
	}
	return page.Rows[0], nil
}

// Call calls a function of the table's schema, with arguments by name, and
// decodes what it returns into result as encoding/json does; nil: nobody wants
// to know. Of the table it needs no more than Client.
func (t *Table) Call(ctx context.Context, function string, args, result any) error {
	of := *t
	of.Name = function + "()" // for errors
	body, err := json.Marshal(args)
	if err != nil {
		return of.mistake("%w", err)
	}
	answer, err := of.send(ctx, request{method: http.MethodPost, path: "/rest/v1/rpc/" + url.PathEscape(function), body: body})
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if result == nil {
		return nil
	}
	in := of.bounded(answer)
	decoder := json.NewDecoder(in)
	if err := decoder.Decode(result); err != nil {
		return of.unreadable(answer, err)
	}
	return of.end(answer, decoder)
}

// path is where the table is.
func (t *Table) path() string { return "/rest/v1/" + url.PathEscape(t.Name) }

// query is what every request for rows has.
func (t *Table) query() query {
	q := t.selection()
	for _, key := range slices.Sorted(maps.Keys(t.Filter)) {
		for _, value := range t.Filter[key] {
			q.add(key, value)
		}
	}
	return q
}

// selection asks for the columns.
func (t *Table) selection() query {
	var q query
	if len(t.Columns) == 0 {
		return q
	}
	var names []string
	for _, column := range slices.Concat(t.Key, t.Columns) {
		if n := name(column); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	q.add("select", strings.Join(names, ","))
	return q
}

// mistake is an error that no request was made for, or that the answer does
// not change.
func (t *Table) mistake(format string, args ...any) error {
	return fmt.Errorf("postgrest: %s: "+format, append([]any{t.title()}, args...)...)
}

// title is the table for people.
func (t *Table) title() string {
	return strings.TrimPrefix(t.Schema+"."+t.Name, ".")
}
