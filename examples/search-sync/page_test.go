package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/memhttp"
	"github.com/gapless-go/gapless/mockserver"
)

// page is the page of a world.
func (w *world) page() *Page {
	return &Page{
		Sync: w.sync, Log: slog.New(slog.DiscardHandler),
		Project: Project{Table: "items", Search: []string{"name", "text"}, Fields: []string{"name", "text", "price"}},
	}
}

func get(t *testing.T, p *Page, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	p.Handler(t.Context()).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func TestPageHasNoExternalParts(t *testing.T) {
	p := &Page{Project: Project{Table: `a "table" & <more>`, Search: []string{"name"}, Fields: []string{"name", "it's"}}}
	index := get(t, p, "/")
	require.Equal(t, 200, index.Code)
	require.Equal(t, "text/html; charset=utf-8", index.Header().Get("Content-Type"))
	require.Contains(t, index.Header().Get("Content-Security-Policy"), "default-src 'self'")
	require.Contains(t, index.Body.String(), "a &#34;table&#34; &amp; &lt;more&gt;")
	for path, kind := range map[string]string{
		"/static/page.js": "text/javascript; charset=utf-8", "/static/style.css": "text/css; charset=utf-8", "/static/icon.svg": "image/svg+xml",
	} {
		require.Contains(t, index.Body.String(), path)
		file := get(t, p, path)
		require.Equal(t, 200, file.Code)
		require.Equal(t, kind, file.Header().Get("Content-Type"))
		text := strings.ReplaceAll(file.Body.String(), "http://www.w3.org/2000/svg", "")
		require.NotContains(t, text, "http:")
		require.NotContains(t, text, "https:")
	}
	require.Equal(t, 404, get(t, p, "/index.html").Code)
	require.Equal(t, 404, get(t, p, "/static/main.go").Code)
}

func TestPageSearches(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable(item{"id": 1, "name": "a name", "price": "12345678901234567890.10"})}}, newMemorySink())
		w.run()
		w.settle()
		got := get(t, w.page(), "/search?q=name")
		require.Equal(t, 200, got.Code)
		var result struct {
			Total int
			Hits  []struct {
				ID, Hash string
				Fields   map[string]string
			}
			Milliseconds *float64
		}
		require.NoError(t, json.Unmarshal(got.Body.Bytes(), &result))
		require.Equal(t, 1, result.Total)
		require.Equal(t, "1", result.Hits[0].ID)
		require.Equal(t, w.sink.docs["1"].Hash, result.Hits[0].Hash)
		require.Equal(t, map[string]string{"name": "a name", "price": "12345678901234567890.10"}, result.Hits[0].Fields, "NULL is left out")
		require.NotNil(t, result.Milliseconds)

		nothing := get(t, w.page(), "/search?q=")
		require.Contains(t, nothing.Body.String(), `"hits":[]`)
		require.Equal(t, 400, get(t, w.page(), "/search?q="+strings.Repeat("x", 201)).Code)
	})
}

// brokenSink is an index that does not answer.
type brokenSink struct{ Sink }

func (brokenSink) Search(context.Context, string, int) (Result, error) {
	return Result{}, errors.New("details that are not for the browser")
}

func TestPageOfAnIndexThatFails(t *testing.T) {
	p := &Page{Sync: &Sync{Sink: brokenSink{}}, Log: slog.New(slog.DiscardHandler)}
	got := get(t, p, "/search?q="+url.QueryEscape("x y"))
	require.Equal(t, 502, got.Code)
	require.Equal(t, "the index did not answer\n", got.Body.String())
}

// browser reads the events of a page.
type browser struct {
	t    *testing.T
	body io.Closer
	read *bufio.Scanner
}

func (b *browser) next() event {
	b.t.Helper()
	var e event
	for b.read.Scan() {
		if text, ok := strings.CutPrefix(b.read.Text(), "data: "); ok {
			require.NoError(b.t, json.Unmarshal([]byte(text), &e))
			return e
		}
	}
	require.FailNow(b.t, "the events ended")
	return e
}

// until returns the first event that is so.
func (b *browser) until(so func(event) bool) event {
	b.t.Helper()
	for range 1000 {
		if e := b.next(); so(e) {
			return e
		}
	}
	require.FailNow(b.t, "it never came to be so")
	return event{}
}

// servePage serves a page in memory until the test ends, and returns how to
// open its events.
func servePage(t *testing.T, p *Page) (open func() *browser, stop func()) {
	l := memhttp.Listen()
	client := l.Client()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx, l) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		require.ErrorIs(t, <-served, context.Canceled)
		client.CloseIdleConnections()
	}
	t.Cleanup(stop)
	return func() *browser {
		answer, err := client.Get("http://localhost/events")
		require.NoError(t, err)
		require.Equal(t, "text/event-stream", answer.Header.Get("Content-Type"))
		t.Cleanup(func() { _ = answer.Body.Close() })
		lines := bufio.NewScanner(answer.Body)
		lines.Buffer(nil, 1<<20)
		return &browser{t, answer.Body, lines}
	}, stop
}

func TestPageTellsWhatHappens(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable(someItems(3)...)}}, newMemorySink())
		open, stop := servePage(t, w.page())
		b := open()
		first := b.next()
		require.Equal(t, "joining", first.Phase)
		require.Nil(t, first.Documents)
		w.run()
		read := b.until(func(e event) bool {
			return e.Phase == "synced" && e.Documents != nil && *e.Documents == 3 && len(e.Gaps) > 0 && e.Gaps[0].Healed != nil
		})
		require.Equal(t, 3, read.Rows)
		require.Equal(t, 3, read.Written)
		require.Equal(t, "started", read.Gaps[0].Reason)
		require.Equal(t, 3, read.Gaps[0].Healed.Changes)

		w.insert(item{"id": 4, "name": "new", "price": 1})
		change := b.until(func(e event) bool { return len(e.Recent) == 1 })
		require.Less(t, change.Now.Sub(change.Commit), 2*time.Second, "the lag")
		require.Equal(t, "4", change.Recent[0].ID)
		require.Greater(t, change.Version, read.Version)
		b.until(func(e event) bool { return e.Rows == 4 && *e.Documents == 4 })

		w.server.RefuseUpgrades(503, "no capacity", 3)
		w.server.KillSockets()
		broken := b.until(func(e event) bool { return e.Phase == "stale" })
		require.Equal(t, 4, broken.Rows, "it serves on")
		repaired := b.until(func(e event) bool { return e.Phase == "synced" && len(e.Gaps) == 2 && e.Gaps[0].Healed != nil })
		require.Equal(t, "disconnected", repaired.Gaps[0].Reason)
		require.False(t, repaired.Gaps[0].Open)
		require.Zero(t, repaired.Gaps[0].Healed.Changes)
		require.Greater(t, repaired.Epoch, read.Epoch)
		stop() // with the browser still there
	})
}

// The buttons are the demo's, and nobody presses them from another site.
func TestPageButtons(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, err := newDemo(mockserver.Config{InMemory: true}, 50)
		require.NoError(t, err)
		defer d.server.Close()
		f, err := follow(t.Context(), settings{project: d.project()}, newMemorySink(), slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		defer f.Close()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		defer func() { stop(); <-done }()
		require.NoError(t, f.table.WaitSynced(ctx))
		p := &Page{Sync: f.sync, Project: d.project(), Demo: d, Log: slog.New(slog.DiscardHandler)}
		press := func(p *Page, button string, header ...string) int {
			r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:8899/"+button, nil)
			for i := 0; i < len(header); i += 2 {
				r.Header.Set(header[i], header[i+1])
			}
			w := httptest.NewRecorder()
			p.Handler(ctx).ServeHTTP(w, r)
			return w.Code
		}
		for _, button := range []string{"break", "lose", "verify"} {
			require.Equal(t, 403, press(p, button, "Sec-Fetch-Site", "cross-site"), button)
			require.Equal(t, 403, press(p, button, "Sec-Fetch-Site", "same-site"), "another port of this machine")
			require.Equal(t, 403, press(p, button, "Origin", "https://elsewhere.example"))
			require.Equal(t, 404, press(&Page{Project: d.project()}, button, "Sec-Fetch-Site", "same-origin"), "a project of somebody's")
			require.Contains(t, []int{404, 405}, get(t, p, "/"+button).Code)
		}
		require.Equal(t, "synced", f.sync.Status().Phase, "nothing has happened")
		require.NotContains(t, get(t, &Page{}, "/").Body.String(), "<button")

		require.Equal(t, 200, press(p, "lose", "Sec-Fetch-Site", "same-origin"))
		_, err = d.server.Update(demoTable, mockserver.Row{"views": 7}, mockserver.Row{"id": 3})
		require.NoError(t, err)
		require.NoError(t, f.table.CatchUp(ctx))
		require.Equal(t, 200, press(p, "verify", "Sec-Fetch-Site", "same-origin"))
		now := f.sync.Status()
		require.Equal(t, 1, now.Verification.Differences)
		require.EqualValues(t, 1, now.Repaired)

		require.Equal(t, 200, press(p, "break", "Origin", "http://127.0.0.1:8899"))
		time.Sleep(time.Second)
		require.Equal(t, "stale", f.sync.Status().Phase)
		require.NoError(t, f.table.WaitSynced(ctx))
	})
}

// Nothing is sent while nothing happens, and a browser that leaves ends its
// stream.
func TestPageIsQuiet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, mockserver.Config{Tables: []mockserver.Table{itemsTable()}}, newMemorySink())
		open, _ := servePage(t, w.page())
		w.run()
		w.settle()
		b := open()
		b.until(func(e event) bool { return e.Documents != nil })
		quiet := time.AfterFunc(time.Hour, func() { _ = b.body.Close() })
		defer quiet.Stop()
		start := time.Now()
		more := b.read.Scan() // the blank line behind the last event
		if more {
			more = b.read.Scan()
		}
		require.False(t, more, b.read.Text())
		require.GreaterOrEqual(t, time.Since(start), time.Hour)
	})
}

func TestProgress(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var out strings.Builder
		states := []Status{{}, {Total: 200, Loaded: 100}, {Filled: true, Rows: 200}}
		n := -1
		require.NoError(t, showProgress(t.Context(), &out, func() Status { n++; return states[n] }))
		require.Equal(t, "snapshot: 100 of 200 rows\nsnapshot: 200 rows in 2.0 s\n", out.String())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, showProgress(ctx, &out, func() Status { return Status{} }), context.DeadlineExceeded)
	})
}
