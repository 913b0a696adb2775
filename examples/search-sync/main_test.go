package main

import (
	"context"
	"iter"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gapless-go/gapless/mockserver"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) // bleve starts workers for good when it is imported
}

// memorySink is an index without a search engine.
type memorySink struct {
	mu       sync.Mutex
	docs     map[string]Document
	written  []string // IDs
	removed  []string
	onUpsert func(docs []Document) error // called first, without the lock; nil: nothing
}

func newMemorySink(docs ...Document) *memorySink {
	s := &memorySink{docs: map[string]Document{}}
	for _, d := range docs {
		s.docs[d.ID] = d
	}
	return s
}

func (s *memorySink) Upsert(_ context.Context, docs []Document) error {
	if s.onUpsert != nil {
		if err := s.onUpsert(docs); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range docs {
		s.docs[d.ID] = d
		s.written = append(s.written, d.ID)
	}
	return nil
}

func (s *memorySink) Delete(_ context.Context, ids []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		delete(s.docs, id)
		s.removed = append(s.removed, id)
	}
	return nil
}

func (s *memorySink) All(context.Context) iter.Seq2[Document, error] {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Collect(maps.Values(s.docs))
	return func(yield func(Document, error) bool) {
		for _, d := range all {
			if !yield(d, nil) {
				return
			}
		}
	}
}

func (s *memorySink) Count(context.Context) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.docs), nil
}

func (s *memorySink) Search(_ context.Context, typed string, limit int) (Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := Result{Hits: []Document{}}
	for _, id := range slices.Sorted(maps.Keys(s.docs)) {
		for _, v := range s.docs[id].Fields {
			if text, ok := v.(string); ok && typed != "" && strings.Contains(text, typed) {
				r.Hits = append(r.Hits, s.docs[id])
				break
			}
		}
	}
	r.Total = len(r.Hits)
	r.Hits = r.Hits[:min(limit, r.Total)]
	return r, nil
}

func (s *memorySink) Close() error { return nil }

// value returns a field of a document as the index has it.
func (s *memorySink) value(id, field string) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.docs[id].Fields[field]
}

// world is a server in memory with one table, items, and a sync that follows
// it, in virtual time.
type world struct {
	t      *testing.T
	server *mockserver.Server
	sink   *memorySink
	settings
	*follower
	ended chan error // what the last Run returned
}

// item is a row of the table.
type item = mockserver.Row

// itemsTable is the table of the tests: an int8 key and columns of kinds that
// Realtime treats in their own ways.
func itemsTable(rows ...item) mockserver.Table {
	return mockserver.Table{
		Name: "items",
		Columns: []mockserver.Column{
			{Name: "id", Type: "int8"},
			{Name: "name", Type: "text"},
			{Name: "text", Type: "text", Toast: true},
			{Name: "price", Type: "numeric"},
			{Name: "code", Type: "char(3)"},
			{Name: "raw", Type: "bytea"},
		},
		PrimaryKey: []string{"id"}, RLS: true,
		Select: signedIn,
		Rows:   rows,
	}
}

// bubble runs a test in virtual time.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// newWorld starts a server; cfg may have anything but the users and policies of
// channels. The settings may be changed by adjust.
func newWorld(t *testing.T, cfg mockserver.Config, sink *memorySink, adjust ...func(*settings)) *world {
	const password = "a password that nobody prints"
	cfg.InMemory = true
	cfg.Users = []mockserver.User{{Email: demoEmail, Password: password}}
	cfg.Channels = func(_ string, claims mockserver.Claims) bool { return signedIn(claims, nil) }
	w := &world{t: t, server: mockserver.Start(t, cfg), sink: sink}
	w.settings = settings{settle: time.Second, project: Project{
		URL: w.server.URL(), Key: w.server.AnonKey(), Email: demoEmail, Password: password,
		Schema: "public", Table: "items", ID: "id", Fields: []string{"name", "text", "price"},
		Topic: "room", Private: true, Canary: time.Minute, HTTPClient: w.server.HTTPClient(),
	}}
	for _, f := range adjust {
		f(&w.settings)
	}
	w.follower = w.follow()
	return w
}

// follow makes a follower, which is closed with the test at the latest.
func (w *world) follow() *follower {
	f, err := follow(w.t.Context(), w.settings, w.sink, slog.New(slog.DiscardHandler))
	require.NoError(w.t, err)
	w.t.Cleanup(f.Close)
	return f
}

// run starts the follower. It ends with stop, or else with the test.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done, f, ended := make(chan struct{}), w.follower, make(chan error, 1)
	w.ended = ended
	go func() {
		defer close(done)
		ended <- f.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	w.t.Cleanup(stop)
	return stop
}

// settle lets everything come to rest.
func (w *world) settle() {
	time.Sleep(30 * time.Second)
	synctest.Wait()
}

// equal wants the index to be equal to the table.
func (w *world) equal() {
	w.t.Helper()
	rows, err := w.server.Rows("items")
	require.NoError(w.t, err)
	for _, r := range rows {
		for column := range r {
			if column != "id" && !slices.Contains(w.project.Fields, column) {
				delete(r, column)
			}
		}
	}
	differences, err := compare(rows, w.sink.All(w.t.Context()))
	require.NoError(w.t, err)
	require.Empty(w.t, differences)
}

func (w *world) insert(rows ...item) { require.NoError(w.t, w.server.Insert("items", rows...)) }

func (w *world) update(id int, set item) {
	w.t.Helper()
	n, err := w.server.Update("items", set, item{"id": id})
	require.NoError(w.t, err)
	require.Equal(w.t, 1, n)
}

func (w *world) delete(id int) {
	w.t.Helper()
	n, err := w.server.Delete("items", item{"id": id})
	require.NoError(w.t, err)
	require.Equal(w.t, 1, n)
}

// someItems returns n rows with the keys 1 to n.
func someItems(n int) []item {
	rows := make([]item, n)
	for i := range rows {
		rows[i] = item{"id": i + 1, "name": "item", "text": "as it was", "price": "1.50"}
	}
	return rows
}

// requests counts the requests to the REST API.
type requests struct {
	http.RoundTripper
	n atomic.Int64
}

func (r *requests) RoundTrip(q *http.Request) (*http.Response, error) {
	if strings.HasPrefix(q.URL.Path, "/rest/v1/") {
		r.n.Add(1)
	}
	return r.RoundTripper.RoundTrip(q)
}
