package rest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/fault"
)

// Fault is what goes wrong with requests to the REST API. Its zero value
// fits every request and harms none.
type Fault struct {
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

// Faults is what FaultREST has asked for.
type Faults struct {
	mu   sync.Mutex
	list []Fault
	left []fault.Budget // by fault
	rows int            // the most that one answer holds; 0: no limit
}

func (f *Faults) Set(faults []Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list, f.left = nil, nil
	for _, wanted := range faults {
		f.append(wanted)
	}
}

// maxRESTFaults bounds how many faults are kept that were added one by one.
const maxRESTFaults = 100

// Add puts a fault behind the others. Those that are used up are forgotten,
// and the oldest when there are too many.
func (f *Faults) Add(wanted Fault) {
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

// LimitRows makes one answer hold no more than n rows; 0: no limit.
func (f *Faults) LimitRows(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rows = max(n, 0)
}

// append is add under mu.
func (f *Faults) append(wanted Fault) {
	left := fault.Budget(wanted.Times)
	if left == 0 {
		left = -1
	}
	f.list, f.left = append(f.list, wanted), append(f.left, left)
}

// Stale returns how far back reads go.
func (f *Faults) Stale() (most time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, wanted := range f.list {
		most = max(most, wanted.Stale)
	}
	return most
}

func (f *Faults) maxRows() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rows
}

// take returns the fault that a request meets, or nil.
func (f *Faults) take(r *http.Request) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, wanted := range f.list {
		if wanted.fits(r) && f.left[i].Take() {
			return &wanted
		}
	}
	return nil
}

func (f Fault) fits(r *http.Request) bool {
	return (f.Method == "" || f.Method == r.Method) &&
		(f.Path == "" || f.Path == strings.TrimPrefix(r.URL.Path, "/rest/v1/"))
}

// serveFault answers a request that something goes wrong with.
func (s *API) serveFault(w http.ResponseWriter, r *http.Request, f Fault) {
	s.stall(r, f.Before)
	held := &heldAnswer{header: http.Header{}, status: http.StatusOK}
	if f.Status != 0 {
		f.answer(held)
	} else {
		s.Answer(held, r, f.Stale)
	}
	s.stall(r, f.After)
	held.send(w, f.Cut)
}

// stall waits. If the client or the server is gone meanwhile, it ends the
// connection.
func (s *API) stall(r *http.Request, d time.Duration) {
	if d > 0 && !s.Pause(r.Context(), d) {
		panic(http.ErrAbortHandler)
	}
}

// answer writes the answer that the fault has.
func (f Fault) answer(w http.ResponseWriter) {
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
