package realtime

import (
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// readSize is how many bytes are asked of a connection at a time. The
	// websocket library asks for 4 KiB, which is a system call for every few
	// frames.
	readSize = 64 << 10
	// minWait and maxWait bound how long a read must have taken to count as one
	// that waited, see wire.Read.
	minWait, maxWait = 200 * time.Microsecond, 100 * time.Millisecond
	// stall is how long the reader may be away from the connection before it
	// counts as held up.
	stall = time.Second
)

// wire is the connection below a websocket. It is read in large pieces, and
// knows until when everything that the server had sent was surely received.
type wire struct {
	io.ReadWriteCloser
	buf  [readSize]byte
	r, w int // buf[r:w] has not been handed over

	mu       sync.Mutex
	whole    time.Time
	reading  bool      // a read is under way
	since    time.Time // when the last read began or ended
	heldTill time.Time // when the reader last came back from being held up
	came     time.Time // when bytes last came
}

func newWire(conn io.ReadWriteCloser) *wire {
	now := time.Now()
	return &wire{ReadWriteCloser: conn, whole: now, since: now}
}

func (w *wire) Read(p []byte) (int, error) {
	if w.r == w.w {
		n, err := w.fill()
		if n == 0 {
			return 0, err // an error beside bytes comes again
		}
	}
	n := copy(p, w.buf[w.r:w.w])
	w.r += n
	return n, nil
}

// fill reads from the connection. A read that waited found no bytes when it
// began, so everything that had come by then has been received. A read that
// returned at once may have found bytes of long ago, and the end of the
// connection behind them: it proves nothing.
//
// That a read has taken some time need not mean that it waited: the goroutine
// or the process may have been stopped. So the longer it is since something was
// proven, the more old bytes there may be, and the longer a read must take.
func (w *wire) fill() (n int, err error) {
	began := time.Now()
	w.mu.Lock()
	unproven := apart(w.whole, began)
	if apart(w.since, began) > stall {
		w.heldTill = began
	}
	w.reading, w.since = true, began
	w.mu.Unlock()

	w.r, w.w = 0, 0
	n, err = w.ReadWriteCloser.Read(w.buf[:])
	w.w = n

	ended := time.Now()
	w.mu.Lock()
	w.reading, w.since = false, ended
	if ended.Sub(began) >= max(minWait, min(unproven/8, maxWait)) {
		w.whole = began
	}
	if n > 0 {
		w.came = ended
	}
	w.mu.Unlock()
	return n, err
}

// apart returns how long after a time another was. The monotonic clock stands
// still while some systems sleep, and the wall clock is set: the longer counts.
func apart(a, b time.Time) time.Duration {
	return max(b.Sub(a), b.Round(0).Sub(a.Round(0)))
}

// proven returns until when the stream was surely whole.
func (w *wire) proven() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.whole
}

// prove notes that the stream was whole at a time: the server has answered what
// was sent then.
func (w *wire) prove(at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at.After(w.whole) {
		w.whole = at
	}
}

// lastCame returns when something was last received.
func (w *wire) lastCame() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.came
}

// held returns until when the reader was last kept from the connection for
// long: now if it still is.
func (w *wire) held(now time.Time) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.reading && apart(w.since, now) > stall {
		return now
	}
	return w.heldTill
}

// upgrade is a http.RoundTripper for one dial. It puts a wire below the
// websocket.
type upgrade struct {
	base http.RoundTripper
	wire *wire
}

func (u *upgrade) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := u.base.RoundTrip(r)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		return answer, err
	}
	if conn, ok := answer.Body.(io.ReadWriteCloser); ok { // or else the library will say so
		u.wire = newWire(conn)
		answer.Body = u.wire
	}
	return answer, nil
}
