package main

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/memhttp"
)

// doc makes a document with a name and a text.
func doc(id, name, text string) Document {
	r := row{"name": value(fmt.Sprintf("%q", name)), "text": value(fmt.Sprintf("%q", text)), "n": "12345678901234567890.50", "none": ""}
	d, err := newDocument(id, r, slices.Sorted(maps.Keys(r)))
	if err != nil {
		panic(err)
	}
	return d
}

var searched = []string{"name", "text"}

// contents returns what the index has, by ID.
func contents(t *testing.T, s Sink) map[string]Document {
	t.Helper()
	docs := map[string]Document{}
	for d, err := range s.All(t.Context()) {
		require.NoError(t, err)
		require.NotContains(t, docs, d.ID, "comes twice")
		docs[d.ID] = d
	}
	return docs
}

func found(t *testing.T, s Sink, typed string) []string {
	t.Helper()
	r, err := s.Search(t.Context(), typed, 10)
	require.NoError(t, err)
	ids := []string{}
	for _, d := range r.Hits {
		ids = append(ids, d.ID)
	}
	require.Len(t, ids, min(r.Total, 10))
	return ids
}

// testSink wants of an empty index what Sink promises. visible waits until a
// search finds what was written.
func testSink(t *testing.T, s Sink, visible func()) {
	ctx := t.Context()
	require.Empty(t, contents(t, s))
	require.NoError(t, s.Upsert(ctx, nil))
	require.NoError(t, s.Delete(ctx, nil))
	require.NoError(t, s.Delete(ctx, []string{"not there"}))

	one, two, odd := doc("1", "Builder.WriteString", "appends a text"), doc("2", "ReadAll", "reads until the end"), doc("a/b c_d.ü", "odd", "<b> & \"key\"")
	require.NoError(t, s.Upsert(ctx, []Document{one, two, odd}))
	require.Equal(t, map[string]Document{one.ID: one, two.ID: two, odd.ID: odd}, contents(t, s))
	require.NoError(t, s.Upsert(ctx, []Document{one, two, odd}), "twice is fine")
	require.Len(t, contents(t, s), 3)

	changed, last := doc("1", "Builder.WriteByte", "appends a byte"), doc("3", "the last", "")
	require.NoError(t, s.Upsert(ctx, []Document{changed, doc("3", "the first", ""), last}))
	require.NoError(t, s.Delete(ctx, []string{"2", "not there"}))
	require.Equal(t, map[string]Document{"1": changed, "3": last, odd.ID: odd}, contents(t, s))
	visible()
	n, err := s.Count(ctx)
	require.NoError(t, err)
	require.Equal(t, 3, n)

	require.Equal(t, []string{"1"}, found(t, s, "byte"))
	require.Equal(t, []string{"1"}, found(t, s, "BUILDER append"))
	require.Equal(t, []string{"1"}, found(t, s, "build"), "while it is being typed")
	require.Empty(t, found(t, s, "readall"), "it was removed")
	require.Empty(t, found(t, s, "WriteString"), "it was replaced")
	require.Empty(t, found(t, s, "builder last"), "every word must be there")
	require.Empty(t, found(t, s, ""))
	require.Empty(t, found(t, s, " ./ "))

	var many []Document
	want := contents(t, s)
	for i := range 3 * maxBatch / 2 {
		d := doc(fmt.Sprintf("many-%d", i), "many", "of them")
		many = append(many, d)
		want[d.ID] = d
	}
	require.NoError(t, s.Upsert(ctx, many))
	require.Equal(t, want, contents(t, s))
	visible()
	r, err := s.Search(ctx, "many", 7)
	require.NoError(t, err)
	require.Len(t, r.Hits, 7)
	require.Equal(t, len(many), r.Total)
	require.NoError(t, s.Delete(ctx, slices.Collect(maps.Keys(want))))
	require.Empty(t, contents(t, s))
	require.NoError(t, s.Close())
}

func TestBleve(t *testing.T) {
	s, err := openBleve("", searched)
	require.NoError(t, err)
	testSink(t, s, func() {})
	require.NoDirExists(t, s.temporary)
}

// An index in a folder of somebody's stays, and is for one process and one choice
// of columns.
func TestBleveStays(t *testing.T) {
	dir := t.TempDir()
	s, err := openBleve(dir, searched)
	require.NoError(t, err)
	want := doc("1", "Read", "about reading")
	require.NoError(t, s.Upsert(t.Context(), []Document{want}))
	_, err = openBleve(dir, searched)
	require.ErrorContains(t, err, "timeout")
	require.NoError(t, s.Close())

	_, err = openBleve(dir, []string{"text"})
	require.ErrorContains(t, err, `is an index of other columns, ["name","text"]`)
	s, err = openBleve(dir, searched)
	require.NoError(t, err)
	require.Equal(t, map[string]Document{"1": want}, contents(t, s))
	require.Equal(t, []string{"1"}, found(t, s, "read"))
	require.NoError(t, s.Close())
	require.DirExists(t, dir)
}

// The best come first: a whole word before the beginning of one, and that before
// the other matches.
func TestBleveRanks(t *testing.T) {
	s, err := openBleve("", searched)
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.Upsert(t.Context(), []Document{
		doc("text", "other", "about read"), doc("part", "BufferReader", ""), doc("whole", "Read", ""), doc("begin", "ReadAll", ""),
		doc("utf8", "DecodeUTF8", "net/http"),
	}))
	read := found(t, s, "read")
	require.Equal(t, []string{"whole", "begin"}, read[:2])
	require.ElementsMatch(t, []string{"part", "text"}, read[2:])
	require.Equal(t, []string{"begin"}, found(t, s, "all"), "a word within a name")
	require.Equal(t, []string{"utf8"}, found(t, s, "http"))
	require.Equal(t, []string{"utf8"}, found(t, s, "utf"))
}

func TestBatchesAreBounded(t *testing.T) {
	small, large := make([]byte, 10), make([]byte, maxBatchBytes+1)
	for name, c := range map[string]struct {
		docs []encoded
		want []int
	}{
		"none":        {nil, nil},
		"by count":    {slices.Repeat([]encoded{{"1", small}}, 2*maxBatch+1), []int{maxBatch, maxBatch, 1}},
		"by bytes":    {slices.Repeat([]encoded{{"1", make([]byte, maxBatchBytes/2)}}, 5), []int{2, 2, 1}},
		"a large one": {[]encoded{{"1", small}, {"2", large}, {"3", small}}, []int{1, 1, 1}},
	} {
		var got []int
		for some := range batches(c.docs) {
			got = append(got, len(some))
		}
		require.Equal(t, c.want, got, name)
	}
}

func TestOpenSinkRefuses(t *testing.T) {
	_, err := openSink(t.Context(), SinkOptions{Kind: "solr"})
	require.ErrorContains(t, err, `no sink "solr"`)
}

// fault is what a fake server does to one request in place of answering it.
type fault struct {
	at      func(*http.Request) bool
	lost    bool // the request is done, and the connection drops before the answer
	dropped bool // the connection drops before the request is done
	status  int
	header  string // Retry-After
	done    bool
}

// faulty puts faults before a server, each once.
func faulty(faults []*fault, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, f := range faults {
			if f.done || !f.at(r) {
				continue
			}
			f.done = true
			switch {
			case f.lost:
				next.ServeHTTP(httptest.NewRecorder(), r)
				panic(http.ErrAbortHandler)
			case f.dropped:
				panic(http.ErrAbortHandler)
			}
			if f.header != "" {
				w.Header().Set("Retry-After", f.header)
			}
			http.Error(w, "busy", f.status)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// path reports whether a request is one to a path that ends so.
func path(end string) func(*http.Request) bool {
	return func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, end) }
}

// serveFake serves a handler in memory and returns what a sink needs to reach
// it.
func serveFake(t *testing.T, h http.Handler) *retrying {
	l := memhttp.Listen()
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	server.Start()
	transport := l.Client().Transport
	t.Cleanup(func() {
		transport.(*http.Transport).CloseIdleConnections()
		server.Close()
	})
	return newRetrying(transport, func(why error, wait time.Duration) { t.Logf("%v, again in %v", why, wait) })
}
