package cache

import (
	"context"
	"errors"
	"time"
)

// catchUp finds out when the stream has come to where the table was when it was
// read, for want of a mark: it was quiet for the settle time, or it brings
// changes that were committed later. Commit times are the database's and are
// compared with each other only.
type catchUp struct {
	at        moment // of the last event
	committed int64  // and its commit
	enough    int64  // a commit behind what was read; 0: there was no event to tell by
	reached   bool
}

func (c *catchUp) event(now moment, committed int64) {
	c.at, c.committed = now, max(c.committed, committed)
	c.reached = c.reached || c.enough > 0 && committed > c.enough
}

// read notes that the table was read, up to now. The last event's commit and
// what has passed since is a time of the database's that is not after it by
// more than that event was late; lateness allows for more than that.
func (c *catchUp) read(now moment) {
	c.reached, c.enough = false, 0
	if c.committed > 0 {
		c.enough = c.committed + (now - c.at + lateness).Milliseconds()
	}
}

const lateness = 10 * time.Second

// awaitCatchUp blocks until the stream has caught up with what was read. A
// Marker has shown that already.
func (r *runner[K, T]) awaitCatchUp(ctx context.Context) error {
	if r.marks.on {
		return nil
	}
	start := r.now()
	for {
		var done bool
		var quiet time.Duration
		err := r.do(ctx, func() {
			quiet = r.now() - max(r.ready.at, start)
			done = r.ready.reached || quiet >= r.quiet()
		})
		if err != nil || done {
			return err
		}
		if err := sleep(ctx, max(r.quiet()-quiet, time.Millisecond)); err != nil {
			return err
		}
	}
}

// quiet is for how long no event is to come before the stream counts as caught
// up. The server looks at its log every half second when nothing happens.
func (t *Table[K, T]) quiet() time.Duration { return max(t.opts.settle, time.Second) }

// CatchUp waits until the cache has all that was committed before the call:
// after a write, it shows what was written, or what came after that. It costs
// one update of the Marker's row, and takes as long as a change takes to come.
//
// It blocks while the Table is not Synced. It returns ErrNoMarker without a
// Marker (see WithMarker), ctx's error, or the one that Run ended with. Under
// row level security, and with a filter, see the package's documentation for
// what no mark shows.
func (t *Table[K, T]) CatchUp(ctx context.Context) error {
	if t.opts.marker == nil {
		return ErrNoMarker
	}
	for {
		if err := t.WaitSynced(ctx); err != nil {
			return err
		}
		var at moment
		err := t.atMark(ctx, 0, func() {
			if t.status.Phase == Synced {
				at = t.now()
			}
		})
		switch {
		case err != nil && !errors.Is(err, errEpochOver):
			return err
		case err == nil && at > 0:
			return t.waitCertain(ctx, at)
		}
	}
}

// waitCertain waits until no row is in doubt that was at that moment.
func (t *Table[K, T]) waitCertain(ctx context.Context, at moment) error {
	return t.wait(ctx, func() bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.doubted == 0 || t.doubted > at
	})
}
