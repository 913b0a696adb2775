package rest

import (
	"net/http"
	"strconv"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/fault"
)

// serveFault answers a request that something goes wrong with.
func (s *API) serveFault(w http.ResponseWriter, r *http.Request, f fault.REST) {
	s.stall(r, f.Before)
	held := &heldAnswer{header: http.Header{}, status: http.StatusOK}
	if f.Status != 0 {
		f.Answer(held)
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
