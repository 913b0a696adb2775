package mockserver

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/fault"
)

// RESTFault is what goes wrong with requests to the REST API. Its zero value
// fits every request and harms none.
type RESTFault struct {
	// Method and Path are the requests that it is about; empty: all. A path is
	// what stands behind /rest/v1/, such as "orders" or "rpc/rt_chunk".
	Method, Path string
	// Times is how many requests it meets; 0: all of them.
	Times int

	// Before is how long a request waits before it is carried out, and After how
	// long its answer waits before it goes out.
	Before, After time.Duration

	// Status, if not 0, is answered with Header and Body, and the request is not
	// carried out. Body is JSON unless Header has another Content-Type. Such are
	// {Status: 429, Header: {"Retry-After": "2"}}, and the page in HTML with
	// which a gateway answers 502.
	Status int
	Header map[string]string
	Body   string

	// Stale makes GET and HEAD read tables as they were so long ago, but not
	// longer ago than when Server.FaultREST was called. So reads a replica.
	Stale time.Duration

	// Cut carries the request out and loses the connection in the middle of the
	// body of the answer, or before the answer where that has no body.
	Cut bool
}

// FaultREST makes requests to the REST API go wrong, in the place of what was
// asked for before; without arguments nothing goes wrong any more. Of several
// faults that fit a request, the first one that is not used up meets it, and
// no other. Requests that wait end with Close.
func (s *Server) FaultREST(faults ...RESTFault) {
	s.restFaults.set(faults)
	s.db.KeepPast(s.restFaults.stale())
}

// addRESTFault makes requests go wrong that meet no other fault.
func (s *Server) addRESTFault(wanted RESTFault) {
	s.restFaults.add(wanted)
	s.db.KeepPast(s.restFaults.stale())
}

// LimitRows makes one answer of the REST API hold no more than n rows, as with
// a project whose setting db-max-rows is lower than one thinks; 0: as many as
// Config.MaxRows says.
func (s *Server) LimitRows(n int) {
	s.restFaults.mu.Lock()
	defer s.restFaults.mu.Unlock()
	s.restFaults.rows = max(n, 0)
}

// restFaults is what FaultREST has asked for.
type restFaults struct {
	mu   sync.Mutex
	list []RESTFault
	left []fault.Budget // by fault
	rows int            // the most that one answer holds; 0: no limit
}

func (f *restFaults) set(faults []RESTFault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list, f.left = nil, nil
	for _, wanted := range faults {
		f.append(wanted)
	}
}

// maxRESTFaults bounds how many faults are kept that were added one by one.
const maxRESTFaults = 100

// add puts a fault behind the others. Those that are used up are forgotten,
// and the oldest when there are too many.
func (f *restFaults) add(wanted RESTFault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := 0; i < len(f.list); {
		if f.left[i] == 0 || len(f.list) >= maxRESTFaults {
			f.list, f.left = slices.Delete(f.list, i, i+1), slices.Delete(f.left, i, i+1)
			continue
		}
		i++
	}
	f.append(wanted)
}

// append is add under mu.
func (f *restFaults) append(wanted RESTFault) {
	left := fault.Budget(wanted.Times)
	if left == 0 {
		left = -1
	}
	f.list, f.left = append(f.list, wanted), append(f.left, left)
}

// stale returns how far back reads go.
func (f *restFaults) stale() (most time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, wanted := range f.list {
		most = max(most, wanted.Stale)
	}
	return most
}

func (f *restFaults) maxRows() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rows
}

// take returns the fault that a request meets, or nil.
func (f *restFaults) take(r *http.Request) *RESTFault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, wanted := range f.list {
		if wanted.fits(r) && f.left[i].Take() {
			return &wanted
		}
	}
	return nil
}

func (f RESTFault) fits(r *http.Request) bool {
	return (f.Method == "" || f.Method == r.Method) &&
		(f.Path == "" || f.Path == strings.TrimPrefix(r.URL.Path, "/rest/v1/"))
}

// serveFault answers a request that something goes wrong with.
func (s *Server) serveFault(w http.ResponseWriter, r *http.Request, f RESTFault) {
	s.stall(r, f.Before)
	held := &heldAnswer{header: http.Header{}, status: http.StatusOK}
	if f.Status != 0 {
		f.answer(held)
	} else {
		s.answerREST(held, r, f.Stale)
	}
	s.stall(r, f.After)
	held.send(w, f.Cut)
}

// stall waits. If the client or the server is gone meanwhile, it ends the
// connection.
func (s *Server) stall(r *http.Request, d time.Duration) {
	if d > 0 && !s.realtime.pause(r.Context(), d) {
		panic(http.ErrAbortHandler)
	}
}

// answer writes the answer that the fault has.
func (f RESTFault) answer(w http.ResponseWriter) {
	if f.Body != "" {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	for name, value := range f.Header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(f.Status)
	_, _ = w.Write([]byte(f.Body)) // into memory
}

// heldAnswer is an answer that has not gone out yet.
type heldAnswer struct {
	header http.Header
	status int
	body   []byte
}

func (h *heldAnswer) Header() http.Header    { return h.header }
func (h *heldAnswer) WriteHeader(status int) { h.status = status }
func (h *heldAnswer) Write(b []byte) (int, error) {
	h.body = append(h.body, b...)
	return len(b), nil
}

// send sends the answer, or half of it.
func (h *heldAnswer) send(w http.ResponseWriter, cut bool) {
	if cut && len(h.body) == 0 {
		panic(http.ErrAbortHandler) // which ends the connection
	}
	for name, values := range h.header {
		w.Header()[name] = values
	}
	body := h.body
	if cut {
		w.Header().Set("Content-Length", strconv.Itoa(len(h.body)))
		body = body[:len(body)/2]
	}
	w.WriteHeader(h.status)
	_, _ = w.Write(body) // the client is gone, or has it
	if cut {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}
