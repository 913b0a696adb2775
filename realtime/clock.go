package realtime

import (
	"net/http"
	"time"
)

// clockError is what the difference of two clocks that agree may seem to be: a
// header Date has whole seconds, and took its time to come.
const clockError = 2 * time.Second

// readClock notes by how much the server's clock is ahead of this machine's, by
// the Date of an answer. An answer without one says nothing.
func (r *router) readClock(answer *http.Response) {
	at, err := http.ParseTime(answer.Header.Get("Date"))
	if err != nil {
		return
	}
	ahead := time.Until(at)
	if ahead.Abs() <= clockError {
		ahead = 0
	}
	was := r.ahead.Swap(&ahead)
	if was == nil || (*was-ahead).Abs() > clockError {
		r.wake() // tokens may be valid for longer, or not any more
	}
}

// clock returns by how much the server's clock is ahead, and whether that is
// known.
func (r *router) clock() (ahead time.Duration, known bool) {
	if ahead := r.ahead.Load(); ahead != nil {
		return *ahead, true
	}
	return 0, false
}

// ServerTime returns what the server's clock shows, or showed, at a time of this
// machine's, as far as that is known.
func (r *router) ServerTime(t time.Time) time.Time {
	ahead, _ := r.clock()
	return t.Add(ahead)
}
