package postgrest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/gapless-go/gapless/internal/rowjson"
)

// request is a request to the API.
type request struct {
	method string
	path   string // escaped
	query  query
	body   []byte
	accept string // empty: JSON
	prefer string
}

// send makes a request and returns an answer that is no error, whose body the
// caller closes. It ends a request whose answer is stuck.
func (t *Table) send(ctx context.Context, r request) (*http.Response, error) {
	address := r.path
	if len(r.query) > 0 {
		address += "?" + r.query.encode()
	}
	watch := t.watch(ctx)
	out, err := http.NewRequestWithContext(watch.ctx, r.method, address, bytes.NewReader(r.body))
	if err != nil {
		watch.end()
		return nil, t.mistake("the request cannot be made") // err quotes the URL
	}
	t.setHeaders(out.Header, r)
	answer, err := t.Client.Do(out)
	if err != nil {
		defer watch.end()
		return nil, t.failure(watch.because(err))
	}
	watch.body(answer)
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		defer answer.Body.Close()
		return nil, t.refusal(answer)
	}
	return answer, nil
}

func (t *Table) setHeaders(h http.Header, r request) {
	h.Set("Accept", r.accept)
	if r.accept == "" {
		h.Set("Accept", "application/json")
	}
	if r.prefer != "" {
		h.Set("Prefer", r.prefer)
	}
	profile := "Accept-Profile"
	if r.body != nil {
		h.Set("Content-Type", "application/json")
	}
	if r.method != http.MethodGet && r.method != http.MethodHead {
		profile = "Content-Profile"
	}
	if t.Schema != "" {
		h.Set(profile, t.Schema)
	}
}

// rows reads a page.
func (t *Table) rows(ctx context.Context, q query, count bool) (Page, error) {
	r := request{method: http.MethodGet, path: t.path(), query: q}
	if count {
		r.prefer = "count=exact"
	}
	return t.readRows(ctx, r)
}

// readRows makes a request whose answer is rows, and splits it.
func (t *Table) readRows(ctx context.Context, r request) (Page, error) {
	answer, err := t.send(ctx, r)
	if err != nil {
		return Page{}, err
	}
	defer answer.Body.Close()
	body, err := t.bounded(answer).all(answer.ContentLength)
	if err != nil {
		return Page{}, t.unreadable(answer, err)
	}
	split, err := rowjson.Split(body)
	if err != nil {
		return Page{}, t.misread(answer, body)
	}
	page := Page{Bytes: int64(len(body)), Total: totalOf(answer.Header)}
	if page.Rows, err = t.withKeys(split); err != nil {
		return Page{}, err
	}
	if n := len(page.Rows); n > 0 {
		page.Last = page.Rows[n-1].Key
	}
	return page, nil
}

// misread says why an answer is not a list of rows.
func (t *Table) misread(answer *http.Response, body []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	var value json.RawMessage
	if err := decoder.Decode(&value); err != nil {
		return t.unreadable(answer, err)
	}
	if err := t.end(answer, decoder); err != nil {
		return err
	}
	return t.unreadable(answer, errors.New("other JSON than was asked for"))
}

// end makes sure that there is no more: an answer of two values is none of
// PostgREST's.
func (t *Table) end(answer *http.Response, decoder *json.Decoder) error {
	switch _, err := decoder.Token(); {
	case err == io.EOF:
		return nil
	case err == nil:
		return t.unreadable(answer, errors.New("more than one value"))
	default:
		return t.unreadable(answer, err)
	}
}

// expect reads a bracket.
func expect(decoder *json.Decoder, bracket json.Delim) error {
	token, err := decoder.Token()
	switch {
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	case err == nil && token != bracket:
		return errors.New("other JSON than was asked for")
	}
	return err
}

// bounded is the body of an answer, of which no more is read than the table
// allows.
func (t *Table) bounded(answer *http.Response) *boundedReader {
	limit := t.MaxBytes
	if limit <= 0 {
		limit = standardMaxBytes
	}
	return &boundedReader{in: answer.Body, left: limit}
}

type boundedReader struct {
	in   io.Reader
	left int64
}

// all reads the body to its end; size is how long it is, if that is known.
func (r *boundedReader) all(size int64) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(int(min(max(size, 32<<10), r.left)) + bytes.MinRead)
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}

func (r *boundedReader) Read(p []byte) (int, error) {
	if r.left < 0 {
		return 0, ErrTooLarge
	}
	if int64(len(p)) > r.left+1 { // one more, to tell the end from too much
		p = p[:r.left+1]
	}
	n, err := r.in.Read(p)
	r.left -= int64(n)
	if r.left < 0 {
		return 0, ErrTooLarge
	}
	return n, err
}

// totalOf reads the count of a Content-Range such as 0-9/3573 or */0; -1 if it
// has none.
func totalOf(h http.Header) int {
	_, total, _ := strings.Cut(h.Get("Content-Range"), "/")
	n, err := strconv.Atoi(total)
	if err != nil || n < 0 {
		return -1
	}
	return n
}
