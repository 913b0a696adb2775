package cache

import (
	"context"
	"errors"
	"time"
)

// keep does for an epoch what needs the network: the load, and then, until the
// epoch ends, the reading of rows in doubt and the verifications. Its error is
// one that does not pass.
func (r *runner[K, T]) keep(ctx context.Context, first bool) error {
	if r.marks.on { // changes from before the gap may be under way still, up to here
		if err := r.atMark(ctx, 0, func() { r.core.epochAt = r.now() }); err != nil {
			return err
		}
	}
	if err := sleep(ctx, r.opts.settle); err != nil {
		return err
	}
	if err := r.move(ctx, settled); err != nil {
		return err
	}
	do := how{cause: CauseResync}
	if first {
		do.cause = CauseSnapshot
	}
	if err := r.load(ctx, do); err != nil {
		return err
	}
	if err := errors.Join(r.move(ctx, loaded), r.awaitCatchUp(ctx), r.move(ctx, caughtUp)); err != nil {
		return err
	}
	return r.tend(ctx)
}

// move has the phase move.
func (r *runner[K, T]) move(ctx context.Context, s step) error {
	return r.do(ctx, func() {
		r.publish()
		if s == caughtUp {
			r.core.caughtUp()
			r.wasSynced.Store(true)
		}
		r.step(s)
	})
}

// tend reads rows in doubt as they turn up, and verifies now and then.
func (r *runner[K, T]) tend(ctx context.Context) error {
	verify, stop := ticks(r.opts.verifyEvery)
	defer stop()
	signal(r.doubt) // there may be some from the load, or from before the gap
	var verified time.Time
	for {
		var err error
		select {
		case <-r.doubt:
			err = r.readDoubtful(ctx)
		case <-verify:
			err = r.verifyOften(ctx)
		case <-r.suspect:
			if r.opts.narrowed() || !r.source.facts.noRLS || time.Since(verified) < suspectEvery {
				continue // it is counted; rows that come into view look the same
			}
			verified = time.Now()
			err = r.verifyOften(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
		if err != nil && !errors.Is(err, errEpochOver) {
			return err
		}
	}
}

// suspectEvery is how often at most an event that does not fit has the table
// verified.
const suspectEvery = time.Minute

// ticks is a ticker that may be off.
func ticks(every time.Duration) (<-chan time.Time, func()) {
	if every <= 0 {
		return nil, func() {}
	}
	t := time.NewTicker(every)
	return t.C, t.Stop
}

// verifyOften verifies and repairs. What the stream should have told of and did
// not may mean that the channel is deaf, of which nothing else may tell: if it
// was quiet, too, it is joined anew.
func (r *runner[K, T]) verifyOften(ctx context.Context) error {
	report, err := r.verifyOnce(ctx, true, r.opts.verifyBy)
	if err != nil {
		return err
	}
	quiet := false
	if err := r.do(ctx, func() {
		quiet = r.core.counts.events == r.eventsAtVerify
		r.eventsAtVerify = r.core.counts.events
	}); err != nil {
		return err
	}
	if quiet && report.Missing+report.Wrong > 0 {
		return errRejoin
	}
	return nil
}

// load makes the cache equal to the table: by reading the whole of it, or, if
// the cache may hold a part only, the rows that it has.
func (r *runner[K, T]) load(ctx context.Context, do how) error {
	switch {
	case r.core.bound.evicts():
	case do.cause == CauseResync && r.source.facts.level3 && len(r.version.columns) > 0:
		return r.resyncByDigest(ctx, do)
	default:
		_, err := r.loadAll(ctx, do, true)
		return err
	}
	var keys []K
	err := r.do(ctx, func() {
		r.core.load++
		for k := range r.core.rows.All() {
			keys = append(keys, k)
		}
	})
	if err == nil && len(keys) == 0 {
		_, err = r.loadAll(ctx, do, false)
		return err
	}
	for len(keys) > 0 && err == nil {
		n := min(len(keys), maxDoubtful)
		_, err = r.readKeys(ctx, keys[:n], do)
		keys = keys[n:]
	}
	return err
}

// maxDoubtful is how many rows are read by their keys at once.
const maxDoubtful = 500

// readDoubtful reads the rows whose last event did not say all. A row is read
// when its event can have been seen by a reader of the table, not earlier.
func (r *runner[K, T]) readDoubtful(ctx context.Context) error {
	for {
		var keys []K
		var wait time.Duration
		if err := r.do(ctx, func() { keys, wait = r.core.due(r.now(), maxDoubtful) }); err != nil {
			return err
		}
		switch {
		case len(keys) == 0 && wait == 0:
			return nil
		case len(keys) == 0:
			if err := sleep(ctx, wait); err != nil {
				return err
			}
			continue
		}
		if _, err := r.readKeys(ctx, keys, how{cause: CauseRepair}); err != nil {
			return err
		}
	}
}

// resyncByDigest reads what differs behind a gap, by columns that change
// whenever a row does. Rows in doubt are read in any case, see tend.
func (r *runner[K, T]) resyncByDigest(ctx context.Context, do how) error {
	if _, err := r.checkDigest(ctx, do); err != nil {
		return err
	}
	return r.atMark(ctx, 0, func() { r.ready.read(r.now()) })
}
