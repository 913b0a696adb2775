package main

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gapless-go/gapless/examples/internal/again"
	"github.com/gapless-go/gapless/examples/internal/site"
)

//go:embed static
var static embed.FS

var index = template.Must(template.ParseFS(static, "static/index.html"))

// Page is the web page: a search box over the index, and what the sync is
// doing.
type Page struct {
	Sync    *Sync
	Project Project
	Demo    *demo // what the buttons break; nil: there are none
	Log     *slog.Logger
}

const (
	maxTyped = 200 // bytes
	maxHits  = 20

	searchPatience = 5 * time.Second
	verifyPatience = time.Minute
	// refresh is how often a browser is told what is new.
	refresh = 250 * time.Millisecond
	// recount is how often documents are counted for a browser.
	recount = 2 * time.Second
)

// Serve serves the page on a listener until ctx ends.
func (p *Page) Serve(ctx context.Context, l net.Listener) error {
	return site.Serve(ctx, l, p.Handler(ctx))
}

// Handler serves the page. Its streams of events end when ctx does.
func (p *Page) Handler(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.index)
	mux.Handle("GET /static/", http.FileServerFS(static))
	mux.HandleFunc("GET /search", p.search)
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) { p.events(ctx, w, r) })
	if p.Demo != nil {
		mux.HandleFunc("POST /break", func(http.ResponseWriter, *http.Request) { p.Demo.breakConnection() })
		mux.HandleFunc("POST /lose", p.lose)
		mux.HandleFunc("POST /verify", p.verify)
	}
	return site.Protect(mux)
}

func (p *Page) index(w http.ResponseWriter, _ *http.Request) {
	columns, err := json.Marshal(map[string][]string{"search": p.Project.Search, "fields": p.Project.Fields})
	if err != nil {
		panic(err) // strings only
	}
	site.Show(w, index, map[string]any{"Table": p.Project.Table, "Columns": string(columns), "Buttons": p.Demo != nil})
}

// search answers with what matches the parameter q.
func (p *Page) search(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), searchPatience)
	defer cancel()
	typed := r.FormValue("q")
	if len(typed) > maxTyped {
		http.Error(w, "that is too long to search for", http.StatusBadRequest)
		return
	}
	start := time.Now()
	found, err := p.Sync.Sink.Search(ctx, typed, maxHits)
	if err != nil {
		if r.Context().Err() == nil {
			p.Log.Warn("a search failed", "error", err)
		}
		http.Error(w, "the index did not answer", http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(struct { // an error: the browser is gone
		Result
		Milliseconds float64 `json:"milliseconds"`
	}{found, float64(time.Since(start).Microseconds()) / 1000})
}

func (p *Page) lose(w http.ResponseWriter, _ *http.Request) {
	if err := p.Demo.loseChanges(); err != nil {
		p.Log.Error("changes cannot be lost", "error", err)
		http.Error(w, "that did not work", http.StatusInternalServerError)
	}
}

// verify compares the cache with the table, and repairs it. The status tells
// what was found.
func (p *Page) verify(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), verifyPatience)
	defer cancel()
	if _, err := p.Sync.Table.Verify(ctx, true); err != nil {
		p.Log.Warn("the verification failed", "error", err)
		http.Error(w, "the table could not be compared", http.StatusBadGateway)
	}
}

// MarshalJSON writes a document for the page: every value but NULL as text,
// since JavaScript would round the numbers.
func (d Document) MarshalJSON() ([]byte, error) {
	fields := make(map[string]*string, len(d.Fields))
	for name, v := range d.Fields {
		if v != nil {
			text := textOf(v)
			fields[name] = &text
		}
	}
	return json.Marshal(map[string]any{"id": d.ID, "hash": d.Hash, "fields": fields})
}

// event is what a browser is told.
type event struct {
	Status
	Documents *int      `json:"documents"` // in the index; nil: nobody knows
	Now       time.Time `json:"now"`
}

// events tells a browser what is new, as server-sent events, until either side
// is gone.
func (p *Page) events(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(r.Context(), cancel)()
	counted := make(chan *int)
	var counting sync.WaitGroup
	counting.Go(func() { p.count(ctx, counted) })
	defer counting.Wait()
	defer cancel()
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	var documents *int
	var last []byte
	for {
		next, err := p.tell(w, event{Status: p.Sync.Status(), Documents: documents}, last)
		if err != nil {
			return
		}
		last = next
		select {
		case documents = <-counted:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// tell sends an event, unless it is the last one again.
func (p *Page) tell(w http.ResponseWriter, e event, last []byte) ([]byte, error) {
	text, err := json.Marshal(e)
	if err != nil || bytes.Equal(text, last) {
		return text, err
	}
	e.Now = time.Now() // which is always new
	stamped, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	return text, site.Tell(w, stamped)
}

// count counts the documents again and again until ctx ends. A count that fails
// leaves a blank.
func (p *Page) count(ctx context.Context, to chan<- *int) {
	for {
		var documents *int
		patience, cancel := context.WithTimeout(ctx, recount)
		if n, err := p.Sync.Sink.Count(patience); err == nil {
			documents = &n
		}
		cancel()
		select {
		case to <- documents:
		case <-ctx.Done():
			return
		}
		if again.Sleep(ctx, recount) != nil {
			return
		}
	}
}
