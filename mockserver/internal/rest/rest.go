package rest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/auth"
	"github.com/gapless-go/gapless/mockserver/internal/fault"
	"github.com/gapless-go/gapless/mockserver/internal/front"
	"github.com/gapless-go/gapless/mockserver/internal/project"
	"github.com/gapless-go/gapless/mockserver/internal/rawjson"
)

// API serves the REST API of a project.
type API struct {
	DB       project.Database
	Verifier *auth.Verifier
	Log      *slog.Logger
	URL      string   // of the project
	Exposed  []string // schemas, the default first
	MaxRows  int      // the most that one answer holds; 0: no limit
	Faults   fault.RESTFaults
	Away     func() string // why the database does not answer; empty: it does
	Pause    func(ctx context.Context, d time.Duration) bool
}

// request is a request to the REST API.
type request struct {
	*http.Request
	ask    project.Request
	api    *API
	object bool // the answer is to be one object, and no array
}

func parsePrefer(values []string) (p project.Preferences) {
	for _, preference := range strings.Split(strings.Join(values, ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(preference), "=")
		field := map[string]*string{
			"return": &p.Representation, "resolution": &p.Resolution, "count": &p.Count, "missing": &p.Missing,
		}[name]
		if field != nil && *field == "" { // the first one counts
			*field = value
		}
	}
	return p
}

// applied is the header Preference-Applied.
func applied(p project.Preferences) string {
	var all []string
	for _, f := range [][2]string{
		{"resolution", p.Resolution}, {"return", p.Representation}, {"count", p.Count}, {"missing", p.Missing},
	} {
		if f[1] != "" {
			all = append(all, f[0]+"="+f[1])
		}
	}
	return strings.Join(all, ", ")
}

// ServeHTTP is the REST API as a Supabase project has it: PostgREST behind a
// gateway that wants an API key.
func (s *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Access-Control-Expose-Headers",
		"Content-Encoding, Content-Location, Content-Range, Content-Type, Date, Location, Preference-Applied, Server, Transfer-Encoding, Range-Unit")
	if r.Method == http.MethodOptions {
		front.AllowAll(w, r)
		return
	}
	if fault := s.Faults.Take(r); fault != nil {
		s.serveFault(w, r, *fault)
		return
	}
	s.Answer(w, r, 0)
}

// Answer answers a request. A GET reads rows as they were so long ago.
func (s *API) Answer(w http.ResponseWriter, r *http.Request, stale time.Duration) {
	if err := auth.CheckAPIKey(s.Verifier, r); err != nil {
		front.WriteJSON(w, http.StatusUnauthorized, err)
		return
	}
	role := "anon"
	answer, err := s.rest(w, r, stale, &role)
	if err == nil {
		answer.write(w, r.Method != http.MethodHead)
		return
	}
	refused := AsRefusal(err, role)
	s.Log.LogAttrs(r.Context(), slog.LevelInfo, "request refused",
		slog.String("method", r.Method), slog.String("path", r.URL.Path),
		slog.Int("status", refused.Status), slog.String("code", refused.Code))
	WriteRefusal(w, refused, r.Method != http.MethodHead)
}

// rest answers a request. It sets role as soon as it knows it.
func (s *API) rest(w http.ResponseWriter, r *http.Request, stale time.Duration, role *string) (*answer, error) {
	claims, err := auth.Authenticate(s.Verifier, r)
	if err != nil {
		return nil, err
	}
	*role = project.RoleOf(claims)
	if out := s.Away(); out != "" {
		return nil, NoConnection(out)
	}
	r.Body = http.MaxBytesReader(w, r.Body, front.MaxBody)
	req := &request{Request: r, api: s, ask: project.Request{
		Caller: project.Caller{Role: *role, Claims: claims}, Method: r.Method, Stale: stale, Prefer: parsePrefer(r.Header.Values("Prefer")),
		Path: r.URL.Path, Headers: headersOf(r), Limit: math.MaxInt,
	}}
	req.ask.Accept = req.single
	path := strings.TrimPrefix(r.URL.Path, "/rest/v1/")
	if path == "" {
		return req.root()
	}
	if err := req.negotiate(); err != nil {
		return nil, err
	}
	name, isCall := strings.CutPrefix(path, "rpc/")
	if strings.Contains(name, "/") {
		return nil, project.Refuse(http.StatusNotFound, "PGRST125", "Invalid path specified in request URL")
	}
	if req.ask.Schema, err = req.schema(); err != nil {
		return nil, err
	}
	req.ask.Name = name
	if isCall {
		return req.call()
	}
	return req.serve()
}

// headersOf returns what functions and policies may know of the headers.
func headersOf(r *http.Request) map[string]string {
	headers := map[string]string{}
	for name, values := range r.Header {
		headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	delete(headers, "authorization")
	delete(headers, "apikey")
	return headers
}

// serve answers a request to a table.
func (r *request) serve() (answer *answer, err error) {
	if r.ask.Query, err = ParseQuery(r.URL.RawQuery); err != nil {
		return nil, err
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if r.ask.Offset, r.ask.Limit, err = r.window(); err != nil {
			return nil, err
		}
		page, err := r.api.DB.Read(r.Context(), &r.ask)
		if err != nil {
			return nil, err
		}
		return r.answerPage(page)
	case http.MethodPost, http.MethodPatch:
		if r.ask.Body, err = r.payload(); err != nil {
			return nil, err
		}
	case http.MethodDelete:
	default:
		return nil, project.Refuse(http.StatusMethodNotAllowed, "PGRST117", "Unsupported HTTP method: %s", r.Method)
	}
	done, err := r.api.DB.Write(r.Context(), &r.ask)
	if err != nil {
		return nil, err
	}
	return r.answerWrite(done), nil
}

// call answers a request to rpc/name.
func (r *request) call() (_ *answer, err error) {
	switch r.Method {
	case http.MethodPost:
		r.ask.Query = &project.Query{Limit: -1}
		if query, err := ParseQuery(r.URL.RawQuery); err == nil {
			r.ask.Query = query
		}
		r.ask.Args, err = r.arguments()
	case http.MethodGet, http.MethodHead:
		r.ask.Query, r.ask.Args = &project.Query{Limit: -1}, map[string]json.RawMessage{}
		for name, values := range r.URL.Query() {
			if name != "apikey" {
				r.ask.Args[name] = rawjson.Must(values[0])
			}
		}
	default:
		err = project.NoCallBy(r.Method)
	}
	if err == nil {
		r.ask.Offset, r.ask.Limit, err = r.window()
	}
	if err != nil {
		return nil, err
	}
	result, err := r.api.DB.Call(r.Context(), &r.ask)
	switch {
	case err != nil:
		return nil, err
	case result.Set:
		return r.answerPage(result.Page)
	case result.Void:
		return &answer{status: http.StatusNoContent, header: http.Header{}}, nil
	}
	a := &answer{status: http.StatusOK, header: http.Header{}, body: result.Rows[0]}
	a.header.Set("Content-Type", "application/json; charset=utf-8")
	a.header.Set("Content-Range", "0-0/*")
	return a, nil
}

// arguments reads the body of a call. No body is an empty object.
func (r *request) arguments() (map[string]json.RawMessage, error) {
	body, err := r.readBody()
	if err != nil {
		return nil, err
	}
	if len(body) == 0 {
		return map[string]json.RawMessage{}, nil
	}
	args, ok := rawjson.Object(body)
	if !ok {
		return nil, project.Refuse(http.StatusBadRequest, "PGRST102", "Empty or invalid json")
	}
	return args, nil
}

// negotiate reads the header Accept.
func (r *request) negotiate() error {
	accepted := strings.Join(r.Header.Values("Accept"), ",")
	if accepted == "" {
		return nil
	}
	for media := range strings.SplitSeq(accepted, ",") {
		media, _, _ = strings.Cut(media, ";")
		switch strings.TrimSpace(media) {
		case "*/*", "application/*", "application/json", "application/vnd.pgrst.array", "application/vnd.pgrst.array+json":
			return nil
		case "application/vnd.pgrst.object", "application/vnd.pgrst.object+json":
			r.object = true
			return nil
		}
	}
	return project.Refuse(http.StatusNotAcceptable, "PGRST107", "None of these media types are available: %s", accepted)
}

// profile returns the header that names the schema for the request's method,
// and its value; empty: the schema public.
func (r *request) profile() string {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return r.Header.Get("Accept-Profile")
	}
	return r.Header.Get("Content-Profile")
}

// schema returns the schema that the profile names.
func (r *request) schema() (string, error) {
	schema := r.profile()
	exposed := r.api.Exposed
	if schema == "" {
		schema = exposed[0]
	}
	if !slices.Contains(exposed, schema) {
		return "", project.Refuse(http.StatusNotAcceptable, "PGRST106", "Invalid schema: %s", schema).
			WithHint("Only the following schemas are exposed: " + strings.Join(exposed, ", "))
	}
	return schema, nil
}

// readBody reads the whole body.
func (r *request) readBody() ([]byte, error) {
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	switch strings.TrimSpace(media) {
	case "", "application/json", "application/vnd.pgrst.object+json", "application/vnd.pgrst.array+json":
	default:
		return nil, project.Refuse(http.StatusBadRequest, "PGRST102", "Content-Type not acceptable: %s", media)
	}
	body, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, project.Refuse(http.StatusRequestEntityTooLarge, "413", "Payload too large").WithDetails("the limit is %d bytes", tooLarge.Limit)
	case err != nil:
		return nil, project.Refuse(http.StatusBadRequest, "PGRST102", "the body could not be read: %v", err)
	}
	return body, nil
}

// answer is an answer with rows.
type answer struct {
	status int
	header http.Header
	body   []byte // nil: none
}

// answer begins the answer to the request.
func (r *request) answer(status int) *answer {
	a := &answer{status: status, header: http.Header{}}
	if r.profile() != "" {
		a.header.Set("Content-Profile", r.ask.Schema)
	}
	return a
}

// setRows makes rows the body: an array, or the one object that was asked for.
func (a *answer) setRows(r *request, rows [][]byte) {
	if r.object {
		a.header.Set("Content-Type", "application/vnd.pgrst.object+json; charset=utf-8")
		a.body = rows[0]
		return
	}
	a.header.Set("Content-Type", "application/json; charset=utf-8")
	a.body = []byte{'['}
	for i, row := range rows {
		if i > 0 {
			a.body = append(a.body, ',')
		}
		a.body = append(a.body, row...)
	}
	a.body = append(a.body, ']')
}

func (a *answer) write(w http.ResponseWriter, body bool) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	if body {
		_, _ = w.Write(a.body) // the client is gone, or has it
	}
}

// single refuses a result of other than one row where one object was asked
// for.
func (r *request) single(rows int) error {
	if !r.object || rows == 1 {
		return nil
	}
	return project.Refuse(http.StatusNotAcceptable, "PGRST116", "Cannot coerce the result to a single JSON object").
		WithDetails("The result contains %d rows", rows)
}
