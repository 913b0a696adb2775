package realtime

import (
	"net/http"
	"time"
)

// clockError is what the difference of two clocks that agree may seem to be: a
// header Date has whole seconds, and took its time to come.
const clockError = 2 * time.Second

// readClock notes by how much the server's clock is ahead of this machine's, by
// the Date of its answer to an upgrade. An answer without one says nothing.
func (r *router) readClock(answer *http.Response) {
	if answer == nil {
		return
	}
	at, err := http.ParseTime(answer.Header.Get("Date"))
	if err != nil {
		return
	}
	ahead := time.Until(at)
	if ahead.Abs() <= clockError {
		ahead = 0
	}
	r.ahead.Store(int64(ahead))
}

// ServerTime returns what the server's clock shows, or showed, at a time of this
// machine's, as far as that is known.
func (r *router) ServerTime(t time.Time) time.Time { return t.Add(time.Duration(r.ahead.Load())) }
