package push

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"html/template"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/examples/internal/site"
	"github.com/gapless-go/gapless/examples/push-notify/relay"
)

//go:embed static
var static embed.FS

var index = template.Must(template.ParseFS(static, "static/index.html"))

// Page is the demo's web page: what the service is doing, and a button by which a
// browser becomes a device. Whoever opens it may be any customer, which is for a
// demo only. All fields are required; it is safe for concurrent use.
type Page struct {
	Origin    string // at which browsers open it
	Relay     *relay.Service
	PublicKey string // the VAPID key to subscribe with
	Shop      *Shop
	Service   *Service
	Break     func() // the connection to Realtime
	Log       *slog.Logger
}

const (
	maxAsked = 4096 // bytes
	// refresh is how often a browser is told what is new.
	refresh = 250 * time.Millisecond
	// breakFor is how long Realtime is away when somebody breaks the connection.
	breakFor = 4 * time.Second
)

// Serve serves the page on a listener until ctx ends, and returns its error.
func (p *Page) Serve(ctx context.Context, l net.Listener) error {
	return site.Serve(ctx, l, p.Handler(ctx))
}

// Handler serves the page. Its streams of events end when ctx does.
func (p *Page) Handler(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.index)
	mux.Handle("GET /static/", http.FileServerFS(static))
	// From here it is the worker of the whole page.
	mux.HandleFunc("GET /worker.js", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, static, "static/worker.js")
	})
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) { p.events(ctx, w, r) })
	mux.HandleFunc("POST /subscribe", p.subscribe)
	mux.HandleFunc("POST /unsubscribe", p.unsubscribe)
	mux.HandleFunc("POST /advance", p.advance)
	mux.HandleFunc("POST /break", func(http.ResponseWriter, *http.Request) { p.Break() })
	mux.Handle("/relay/", p.Relay.Handler(ctx))
	return site.Protect(mux)
}

func (p *Page) index(w http.ResponseWriter, _ *http.Request) {
	site.Show(w, index, map[string]any{"Key": p.PublicKey, "Statuses": strings.Join(statuses, " ")})
}

// asked is what a page posts.
type asked struct {
	Customer     int             `json:"customer"`
	Subscription json.RawMessage `json:"subscription"`
}

// read reads what a page posts. It has answered if that is none.
func (p *Page) read(w http.ResponseWriter, r *http.Request) (a asked, ok bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAsked))
	var long *http.MaxBytesError
	if errors.As(err, &long) {
		http.Error(w, "that is too long", http.StatusRequestEntityTooLarge)
		return a, false
	}
	if err != nil || json.Unmarshal(body, &a) != nil {
		http.Error(w, "that is not what this page sends", http.StatusBadRequest)
		return a, false
	}
	return a, true
}

// device has a change made for a customer and the address of a browser, which a
// page posts.
func (p *Page) device(w http.ResponseWriter, r *http.Request, change func(s *Shop, customer int, address string) error) {
	a, ok := p.read(w, r)
	if !ok {
		return
	}
	address, err := p.address(a)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.answer(w, p.Shop.Do(func(s *Shop) error { return change(s, a.Customer, address) }))
}

// address makes the address of a device of a subscription: the same for the same
// one, and nothing in it but what is needed.
func (p *Page) address(a asked) (string, error) {
	s, err := ParseSubscription(a.Subscription)
	if err != nil {
		return "", err
	}
	if !p.mayPushTo(s.Endpoint) {
		return "", errors.New("this server sends to no such push service")
	}
	text, err := json.Marshal(s)
	return string(text), err
}

// mayPushTo reports whether the page's server sends to an address. Otherwise anybody
// could have it send requests to wherever it can reach.
func (p *Page) mayPushTo(endpoint string) bool {
	u, err := url.Parse(endpoint)
	return isBelow(endpoint, p.Origin+"/relay/push/") || err == nil && isService(u, PushServices)
}

func (p *Page) subscribe(w http.ResponseWriter, r *http.Request) { p.device(w, r, (*Shop).Subscribe) }

func (p *Page) unsubscribe(w http.ResponseWriter, r *http.Request) {
	p.device(w, r, func(s *Shop, _ int, address string) error { return s.Unsubscribe(address) })
}

func (p *Page) advance(w http.ResponseWriter, r *http.Request) {
	if a, ok := p.read(w, r); ok {
		p.answer(w, p.Shop.Do(func(s *Shop) error { return s.Advance(a.Customer) }))
	}
}

// answer says what became of a change of the tables.
func (p *Page) answer(w http.ResponseWriter, err error) {
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.Is(err, errNoCustomer):
		http.Error(w, err.Error(), http.StatusNotFound)
	case errors.Is(err, errFull):
		http.Error(w, err.Error(), http.StatusConflict)
	default:
		p.Log.Error("the tables cannot be changed", "error", err)
		http.Error(w, "that did not work", http.StatusInternalServerError)
	}
}

// shownState is what a browser is told.
type shownState struct {
	Customers []string     `json:"customers"` // by ID, from 1
	Orders    []Order      `json:"orders"`
	Phase     string       `json:"phase"` // of the cache that is the farthest from synced
	Gaps      uint64       `json:"gaps"`  // of both caches, their starts left out
	Devices   int          `json:"devices"`
	Sent      uint64       `json:"sent"`
	Retried   uint64       `json:"retried"`
	TooOld    uint64       `json:"tooOld"`
	Nobody    uint64       `json:"nobody"`
	Gone      uint64       `json:"gone"`
	Buried    uint64       `json:"buried"`
	Behind    uint64       `json:"behind"`
	Relay     relay.Counts `json:"relay"`
}

func (p *Page) state() shownState {
	now, c := p.Service.Status(), &p.Service.Notifier.Counters
	s := shownState{
		Phase: now.Customers.Phase.String(), Gaps: gaps(now.Customers) + gaps(now.Devices), Devices: now.Devices.Rows,
		Sent: c.Sent.Load(), Retried: c.Retried.Load(), TooOld: c.TooOld.Load(), Nobody: c.Nobody.Load(),
		Gone: c.Gone.Load(), Buried: c.Buried.Load(), Behind: c.Behind.Load(), Relay: p.Relay.Counts(),
	}
	if now.Customers.Phase == cache.Synced {
		s.Phase = now.Devices.Phase.String()
	}
	var customers int
	s.Orders, customers = p.Shop.Recent()
	for id := 1; id <= customers; id++ {
		s.Customers = append(s.Customers, customerName(id))
	}
	return s
}

// gaps counts those behind the first, which is the start of the stream.
func gaps(s cache.Status) uint64 { return s.Gaps - min(s.Gaps, 1) }

// events tells a browser what is new, as server-sent events, until either side
// is gone.
func (p *Page) events(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	var last []byte
	for {
		text, err := json.Marshal(p.state())
		if err != nil {
			return
		}
		if !bytes.Equal(text, last) {
			if site.Tell(w, text) != nil {
				return
			}
			last = text
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		case <-ctx.Done():
			return
		}
	}
}
