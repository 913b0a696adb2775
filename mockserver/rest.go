package mockserver

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
)

// maxBody is the most that a request to the REST or Auth API may hold.
const maxBody = 8 << 20

// restRequest is a request to the REST API.
type restRequest struct {
	*http.Request
	caller
	server *Server
	stale  time.Duration // it reads rows as they were so long ago
	table  *table
	query  *restQuery
	prefer preferences
	object bool // the answer is to be one object, and no array
}

// preferences are what the header Prefer asks for; "" where it does not.
type preferences struct {
	representation string // representation, minimal, headers-only
	resolution     string // merge-duplicates, ignore-duplicates
	count          string // exact, planned, estimated: this server always counts
	missing        string // default
}

func parsePrefer(values []string) (p preferences) {
	for _, preference := range strings.Split(strings.Join(values, ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(preference), "=")
		field := map[string]*string{
			"return": &p.representation, "resolution": &p.resolution, "count": &p.count, "missing": &p.missing,
		}[name]
		if field != nil && *field == "" { // the first one counts
			*field = value
		}
	}
	return p
}

// applied is the header Preference-Applied.
func (p preferences) applied() string {
	var all []string
	for _, f := range [][2]string{
		{"resolution", p.resolution}, {"return", p.representation}, {"count", p.count}, {"missing", p.missing},
	} {
		if f[1] != "" {
			all = append(all, f[0]+"="+f[1])
		}
	}
	return strings.Join(all, ", ")
}

// serveREST is the REST API as a Supabase project has it: PostgREST behind a
// gateway that wants an API key.
func (s *Server) serveREST(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Access-Control-Expose-Headers",
		"Content-Encoding, Content-Location, Content-Range, Content-Type, Date, Location, Preference-Applied, Server, Transfer-Encoding, Range-Unit")
	if r.Method == http.MethodOptions {
		allowAll(w, r)
		return
	}
	if fault := s.restFaults.take(r); fault != nil {
		s.serveFault(w, r, *fault)
		return
	}
	s.answerREST(w, r, 0)
}

// answerREST answers a request. A GET reads rows as they were so long ago.
func (s *Server) answerREST(w http.ResponseWriter, r *http.Request, stale time.Duration) {
	if err := s.checkAPIKey(r); err != nil {
		writeJSON(w, http.StatusUnauthorized, err)
		return
	}
	role := "anon"
	answer, err := s.rest(w, r, stale, &role)
	if err == nil {
		answer.write(w, r.Method != http.MethodHead)
		return
	}
	refused := asRESTError(err, role)
	s.log.LogAttrs(r.Context(), slog.LevelInfo, "request refused",
		slog.String("method", r.Method), slog.String("path", r.URL.Path),
		slog.Int("status", refused.status), slog.String("code", refused.Code))
	refused.write(w, r.Method != http.MethodHead)
}

// allowAll answers OPTIONS, for browsers.
func allowAll(w http.ResponseWriter, r *http.Request) {
	const methods = "OPTIONS,GET,HEAD,POST,PATCH,DELETE"
	w.Header().Set("Allow", methods)
	w.Header().Set("Access-Control-Allow-Methods", methods)
	if wanted := r.Header.Get("Access-Control-Request-Headers"); wanted != "" {
		w.Header().Set("Access-Control-Allow-Headers", wanted)
	}
	w.WriteHeader(http.StatusOK)
}

// rest answers a request. It sets role as soon as it knows it.
func (s *Server) rest(w http.ResponseWriter, r *http.Request, stale time.Duration, role *string) (*restAnswer, error) {
	claims, err := s.authenticate(r)
	if err != nil {
		return nil, err
	}
	*role = roleOf(claims)
	if out := s.realtime.faults.outage(); out != nil {
		return nil, noConnection(out.rest)
	}
	if !s.elsewhere() && !isRole(*role) {
		return nil, pgtype.Errorf(pgtype.CodeBadParameter, "role %q does not exist", *role)
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	req := &restRequest{Request: r, caller: caller{*role, claims}, server: s, stale: stale, prefer: parsePrefer(r.Header.Values("Prefer"))}
	path := strings.TrimPrefix(r.URL.Path, "/rest/v1/")
	if path == "" && !s.isServiceKey(apiKey(r)) {
		return nil, refuse(http.StatusForbidden, "", "Access to schema is forbidden").
			hint("Accessing the schema via the Data API is only allowed using a secret API key.")
	}
	if s.elsewhere() {
		return req.answerBackend(path)
	}
	if path == "" {
		return req.root()
	}
	if err := req.negotiate(); err != nil {
		return nil, err
	}
	if name, isCall := strings.CutPrefix(path, "rpc/"); isCall {
		return req.call(name)
	}
	if req.table, err = req.findTable(path); err != nil {
		return nil, err
	}
	return req.serve()
}

// noConnection is PostgREST's answer while it has no database.
func noConnection(details string) *restError {
	return refuse(http.StatusServiceUnavailable, "PGRST000", "Database connection error. Retrying the connection.").details("%s", details)
}

// serve answers a request to a table.
func (r *restRequest) serve() (answer *restAnswer, err error) {
	if r.query, err = parseRESTQuery(r.URL.RawQuery); err != nil {
		return nil, err
	}
	if err := r.query.inMemory(); err != nil {
		return nil, err
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return r.read()
	case http.MethodPost:
		return r.create()
	case http.MethodPatch:
		return r.update()
	case http.MethodDelete:
		return r.delete()
	}
	return nil, refuse(http.StatusMethodNotAllowed, "PGRST117", "Unsupported HTTP method: %s", r.Method)
}

// rows returns the content of the table as a read sees it.
func (r *restRequest) rows() *rowSet {
	if r.stale > 0 {
		return r.server.db.rowsBefore(r.table, r.stale)
	}
	return r.server.db.visibleRows(r.table)
}

// negotiate reads the header Accept.
func (r *restRequest) negotiate() error {
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
	return refuse(http.StatusNotAcceptable, "PGRST107", "None of these media types are available: %s", accepted)
}

// profile returns the header that names the schema for the request's method,
// and its value; empty: the schema public.
func (r *restRequest) profile() string {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return r.Header.Get("Accept-Profile")
	}
	return r.Header.Get("Content-Profile")
}

// schema returns the schema that the profile names.
func (r *restRequest) schema() (string, error) {
	schema := r.profile()
	exposed := r.server.exposed
	if schema == "" {
		schema = exposed[0]
	}
	if !slices.Contains(exposed, schema) {
		return "", refuse(http.StatusNotAcceptable, "PGRST106", "Invalid schema: %s", schema).
			hint("Only the following schemas are exposed: " + strings.Join(exposed, ", "))
	}
	return schema, nil
}

// findTable finds the table of that name in the schema that the profile names.
func (r *restRequest) findTable(name string) (*table, error) {
	if strings.Contains(name, "/") {
		return nil, refuse(http.StatusNotFound, "PGRST125", "Invalid path specified in request URL")
	}
	schema, err := r.schema()
	if err != nil {
		return nil, err
	}
	t, ok := r.server.db.table(schema, name)
	if !ok {
		return nil, refuse(http.StatusNotFound, "PGRST205", "Could not find the table '%s.%s' in the schema cache", schema, name)
	}
	return t, nil
}

// readBody reads the whole body.
func (r *restRequest) readBody() ([]byte, error) {
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	switch strings.TrimSpace(media) {
	case "", "application/json", "application/vnd.pgrst.object+json", "application/vnd.pgrst.array+json":
	default:
		return nil, refuse(http.StatusBadRequest, "PGRST102", "Content-Type not acceptable: %s", media)
	}
	body, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, refuse(http.StatusRequestEntityTooLarge, "413", "Payload too large").details("the limit is %d bytes", tooLarge.Limit)
	case err != nil:
		return nil, refuse(http.StatusBadRequest, "PGRST102", "the body could not be read: %v", err)
	}
	return body, nil
}

// restAnswer is an answer with rows.
type restAnswer struct {
	status int
	header http.Header
	body   []byte // nil: none
}

// answer begins the answer to the request.
func (r *restRequest) answer(status int) *restAnswer {
	a := &restAnswer{status: status, header: http.Header{}}
	if r.profile() != "" {
		a.header.Set("Content-Profile", r.table.schema)
	}
	return a
}

// setRows makes rows the body: an array, or the one object that was asked for.
func (a *restAnswer) setRows(r *restRequest, rows [][]byte) {
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

func (a *restAnswer) write(w http.ResponseWriter, body bool) {
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
func (r *restRequest) single(rows int) error {
	if !r.object || rows == 1 {
		return nil
	}
	return refuse(http.StatusNotAcceptable, "PGRST116", "Cannot coerce the result to a single JSON object").
		details("The result contains %d rows", rows)
}
