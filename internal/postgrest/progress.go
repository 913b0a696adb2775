package postgrest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// ErrNoProgress is within the error of a request whose answer does not come, or
// comes so slowly that it counts as stuck: see Table.Stall. It is temporary.
var ErrNoProgress = errors.New("the answer makes no progress")

const (
	// standardStall is Table.Stall if it is not set. A TokenSource has 30 s, and
	// a statement 8 s, before there is an answer.
	standardStall = 40 * time.Second
	// minProgress is how many bytes must come within Table.Stall.
	minProgress = 4 << 10
	// maxWindows is how many times Table.Stall a whole answer may take.
	maxWindows = 15
)

// progress ends the request of an answer that is stuck. It is safe for
// concurrent use.
type progress struct {
	ctx    context.Context // of the request; its cause is ErrNoProgress then
	cancel context.CancelCauseFunc
	stall  time.Duration

	mu      sync.Mutex
	timer   *time.Timer
	bytes   int // since the window began
	windows int
}

func (t *Table) watch(ctx context.Context) *progress {
	p := &progress{stall: t.Stall}
	if p.stall <= 0 {
		p.stall = standardStall
	}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(p.stall, p.check) // runs for an instant; stopped by end
	return p
}

// check ends the request at the end of a window in which too little came.
func (p *progress) check() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.windows++; p.bytes < minProgress || p.windows >= maxWindows {
		p.cancel(ErrNoProgress)
		return
	}
	p.bytes = 0
	p.timer.Reset(p.stall)
}

// end releases what the watch holds.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer.Stop()
	p.cancel(nil)
}

// because returns ErrNoProgress in the place of the cancellation that it made,
// and every other error as it is.
func (p *progress) because(err error) error {
	if err != nil && err != io.EOF && context.Cause(p.ctx) == ErrNoProgress {
		return ErrNoProgress
	}
	return err
}

// body hands an answer's body over to be watched until it is closed. That the
// head has come is progress, too.
func (p *progress) body(answer *http.Response) {
	p.came(minProgress)
	answer.Body = &watchedBody{answer.Body, p}
}

func (p *progress) came(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += n
}

type watchedBody struct {
	io.ReadCloser
	progress *progress
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.progress.came(n)
	return n, b.progress.because(err)
}

func (b *watchedBody) Close() error {
	err := b.ReadCloser.Close()
	b.progress.end()
	return err
}
