package inspect

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/gapless-go/gapless/internal/redact"
	"github.com/gapless-go/gapless/mockserver/internal/front"
	"github.com/gapless-go/gapless/mockserver/internal/project"
	"github.com/gapless-go/gapless/mockserver/internal/rawjson"
)

//go:embed inspector
var inspectorFiles embed.FS

const (
	// inspectorTick is how often a page is told of frames, and inspectorLook how
	// often the server looks for it whether anything else has changed.
	inspectorTick = 100 * time.Millisecond
	inspectorLook = 500 * time.Millisecond
	// maxAtOnce bounds what one tick tells. A page that sees thousands of frames
	// a second is read by nobody, and is told how many it did not get.
	maxAtOnce = 1_000
	// maxInspected bounds the sockets that a page is told of.
	maxInspected = 200
	// maxInspectedRows bounds the rows of one answer.
	maxInspectedRows = 200
	// maxWhole is more than a frame has, in hexadecimal, too.
	maxWhole = 1 << 30
	// inspectorPatience is how long a browser may take to read an event.
	inspectorPatience = 10 * time.Second
)

// Inspector serves the page at /inspect: the files of it, and what it shows.
// What it does, it asks /mock/v1/ for.
type Inspector struct {
	Server Server
	DB     project.Database
	Tap    *Tap
	Log    *slog.Logger

	started string // tells this server's frames from those of one before it

	mu   sync.Mutex
	seen seenTables
}

// Routes returns the handler of / and of what stands below /inspect.
func (i *Inspector) Routes() http.Handler {
	i.started = uuid.NewString()
	files, err := fs.Sub(inspectorFiles, "inspector")
	if err != nil {
		panic(err) // they are embedded
	}
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", http.RedirectHandler("/inspect/", http.StatusFound))
	mux.Handle("GET /inspect", http.RedirectHandler("/inspect/", http.StatusFound))
	mux.Handle("GET /inspect/", http.StripPrefix("/inspect/", http.FileServerFS(files)))
	mux.HandleFunc("GET /inspect/events", i.events)
	mux.HandleFunc("GET /inspect/frames/{n}", i.frame)
	mux.HandleFunc("GET /inspect/rows", i.rows)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-cache")
		mux.ServeHTTP(w, r)
	})
}

// Noted notes the requests to the project's APIs and how they were answered.
func (i *Inspector) Noted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/rest/") && !strings.HasPrefix(r.URL.Path, "/auth/") && !strings.Contains(r.URL.Path, "/api/broadcast") {
			next.ServeHTTP(w, r)
			return
		}
		began := time.Now()
		answer := &front.WatchedAnswer{ResponseWriter: w}
		defer func() { // it may panic, to end the connection
			i.Tap.Note(0, "request", "%s %s %d in %d ms", r.Method, redact.URL(r.URL), cmp.Or(answer.Status, http.StatusOK), time.Since(began).Milliseconds())
		}()
		next.ServeHTTP(answer, r)
	})
}

// frame answers with the whole text of a frame, if it is still there.
func (i *Inspector) frame(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseUint(r.PathValue("n"), 10, 64)
	p, ok := i.Tap.get(n)
	if err != nil || !ok {
		http.Error(w, "the frame is not kept any more", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(p.shown(maxWhole).Text))
}

// inspectedRows is a part of a table. Values are JSON text, as JavaScript
// would round numbers; nil is NULL.
type inspectedRows struct {
	Columns []string    `json:"columns"`
	Rows    [][]*string `json:"rows"`
	Count   int         `json:"count"` // of the whole table
}

// rows answers with rows of the table in the order of its primary key.
func (i *Inspector) rows(w http.ResponseWriter, r *http.Request) {
	offset, err := strconv.Atoi(r.FormValue("offset"))
	if err != nil || offset < 0 {
		offset = 0
	}
	answer, err := i.someRows(r.Context(), r.FormValue("table"), offset)
	if err != nil {
		http.Error(w, "there is no such table, or it cannot be read", http.StatusNotFound)
		return
	}
	front.WriteJSON(w, http.StatusOK, answer)
}

// someRows reads rows of a table in the order of its primary key.
func (i *Inspector) someRows(ctx context.Context, name string, offset int) (answer inspectedRows, err error) {
	tables, _ := i.tables(ctx)
	at := slices.IndexFunc(tables, func(t project.Table) bool {
		return t.Schema+"."+t.Name == name || t.Schema == "public" && t.Name == name
	})
	if at < 0 {
		return answer, errNotFound
	}
	for _, c := range tables[at].Columns {
		answer.Columns = append(answer.Columns, c.Name)
	}
	rows, count, err := i.DB.Rows(ctx, tables[at], offset, maxInspectedRows)
	answer.Rows, answer.Count = make([][]*string, len(rows)), count
	for n, row := range rows {
		answer.Rows[n] = shownJSON(row, answer.Columns)
	}
	return answer, err
}

// shownJSON returns the values of a row as JSON text, without keys and tokens.
func shownJSON(row []byte, columns []string) []*string {
	var values map[string]json.RawMessage
	_ = json.Unmarshal(redact.Text(row), &values) // the database has written it
	shown := make([]*string, len(columns))
	for i, name := range columns {
		if text := string(values[name]); text != "null" && text != "" {
			shown[i] = &text
		}
	}
	return shown
}

// tables describes the tables, as they were up to inspectorLook ago. An error
// leaves what was seen before.
func (i *Inspector) tables(ctx context.Context) ([]project.Table, uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if time.Since(i.seen.at) < i.seen.goodFor {
		return i.seen.tables, i.seen.commits
	}
	began := time.Now()
	tables, commits, err := i.DB.Tables(ctx)
	if err != nil {
		i.Log.Debug("the inspector could not look at the database", "error", err)
	} else {
		i.seen.tables, i.seen.commits = tables, commits
	}
	i.seen.at = time.Now()
	i.seen.goodFor = 20 * i.seen.at.Sub(began)
	return i.seen.tables, i.seen.commits
}

// seenTables is what was seen of the database.
type seenTables struct {
	at      time.Time
	goodFor time.Duration // longer where it takes long to look
	tables  []project.Table
	commits uint64
}

// inspected is what a page is told of the server when it has changed.
type inspected struct {
	URL     string          `json:"url"`
	Sockets []Connection    `json:"sockets"` // the first ones
	Open    int             `json:"open"`    // all of them
	Tables  []project.Table `json:"tables"`
	Commits uint64          `json:"commits"` // changes with every commit
}

func (i *Inspector) look(ctx context.Context) []byte {
	now := inspected{URL: i.Server.URL(), Sockets: i.Server.Connections()}
	now.Tables, now.Commits = i.tables(ctx)
	now.Open = len(now.Sockets)
	now.Sockets = now.Sockets[:min(now.Open, maxInspected)]
	return redact.Text(rawjson.Must(now))
}

// told is how far a page is.
type told struct {
	frame uint64
	state []byte
	look  time.Time // when the server is looked at again
}

// events tells a page what is new, as server-sent events, until either side is
// gone: "hello" with which server it is, "frames" with a list of them, "skipped"
// with how many there were that are not in it, and "state".
func (i *Inspector) events(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(i.Server.Context(), cancel)()
	w.Header().Set("Content-Type", "text/event-stream")
	page := &told{frame: i.resumed(r.Header.Get("Last-Event-ID"))}
	if i.tell(w, "hello", "", rawjson.Must(i.started)) != nil {
		return
	}
	tick := time.NewTicker(inspectorTick)
	defer tick.Stop()
	for {
		if i.tellFrames(w, page) != nil || i.tellState(ctx, w, page) != nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// resumed returns the last frame that a page has which comes back.
func (i *Inspector) resumed(id string) uint64 {
	n, ok := strings.CutPrefix(id, i.started+"-")
	last, err := strconv.ParseUint(n, 10, 64)
	if !ok || err != nil || last > i.Tap.last() {
		return 0
	}
	return last
}

func (i *Inspector) tellFrames(w http.ResponseWriter, page *told) error {
	fresh := i.Tap.since(page.frame, maxAtOnce)
	if len(fresh) == 0 {
		return nil
	}
	if missed := fresh[0].n - page.frame - 1; missed > 0 {
		if err := i.tell(w, "skipped", "", strconv.AppendUint(nil, missed, 10)); err != nil {
			return err
		}
	}
	frames := make([]shownFrame, len(fresh))
	for at, p := range fresh {
		frames[at] = p.shown(maxShown)
	}
	page.frame = fresh[len(fresh)-1].n
	return i.tell(w, "frames", fmt.Sprintf("%s-%d", i.started, page.frame), rawjson.Must(frames))
}

// tellState looks at the server once in a while: less often where that takes
// long.
func (i *Inspector) tellState(ctx context.Context, w http.ResponseWriter, page *told) error {
	began := time.Now()
	if began.Before(page.look) {
		return nil
	}
	state := i.look(ctx)
	page.look = time.Now().Add(max(inspectorLook, 20*time.Since(began)))
	if bytes.Equal(state, page.state) {
		return nil
	}
	page.state = state
	return i.tell(w, "state", "", state)
}

// tell sends one event. The data is JSON and so has no line breaks.
func (i *Inspector) tell(w http.ResponseWriter, event, id string, data []byte) error {
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(inspectorPatience)) // a test's recorder has none
	if id != "" {
		id = "id: " + id + "\n"
	}
	if _, err := fmt.Fprintf(w, "event: %s\n%sdata: %s\n\n", event, id, data); err != nil {
		return err
	}
	return control.Flush()
}
