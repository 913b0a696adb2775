package fault

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// REST is what goes wrong with requests to the REST API. Its zero value
// fits every request and harms none.
type REST struct {
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

// RESTFaults are the faults of the REST API that are in force. They are safe for
// concurrent use.
type RESTFaults struct {
	mu   sync.Mutex
	list []REST
	left []Budget // by fault
	rows int      // the most that one answer holds; 0: no limit
}

// Set puts faults in the place of those in force.
func (f *RESTFaults) Set(faults []REST) {
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
func (f *RESTFaults) Add(wanted REST) {
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
func (f *RESTFaults) LimitRows(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rows = max(n, 0)
}

// append is add under mu.
func (f *RESTFaults) append(wanted REST) {
	left := Budget(wanted.Times)
	if left == 0 {
		left = -1
	}
	f.list, f.left = append(f.list, wanted), append(f.left, left)
}

// Stale returns how far back reads go.
func (f *RESTFaults) Stale() (most time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, wanted := range f.list {
		most = max(most, wanted.Stale)
	}
	return most
}

// MaxRows returns the most rows that one answer holds; 0: no limit.
func (f *RESTFaults) MaxRows() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rows
}

// Take returns the fault that a request meets, or nil.
func (f *RESTFaults) Take(r *http.Request) *REST {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, wanted := range f.list {
		if wanted.fits(r) && f.left[i].Take() {
			return &wanted
		}
	}
	return nil
}

func (f REST) fits(r *http.Request) bool {
	return (f.Method == "" || f.Method == r.Method) &&
		(f.Path == "" || f.Path == strings.TrimPrefix(r.URL.Path, "/rest/v1/"))
}

// Answer writes the answer that the fault has.
func (f REST) Answer(w http.ResponseWriter) {
	if f.Body != "" {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	for name, value := range f.Header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(f.Status)
	_, _ = w.Write([]byte(f.Body)) // into memory
}
