package cache

import (
	"context"
	"errors"
	"time"
)

// keep does for an epoch what needs the network: the load, and then, until the
// epoch ends, the reading of rows in doubt and the verifications. Its error is
// one that does not pass.
func (r *runner[K, T]) keep(ctx context.Context, first, described, cold bool) error {
	// A mark proves that the server reads its log, and that what was committed
	// before it can be seen by a read. Changes from before the gap may be under
	// way still, up to here.
	if r.passage.marked {
		if err := r.passing(ctx, 0, func() { r.core.epochAt = r.now() }); err != nil {
			return err
		}
	}
	if !described {
		if err := r.redescribe(ctx); err != nil {
			return err
		}
	}
	if err := sleep(ctx, r.opts.waitToLoad(first)); err != nil {
		return err
	}
	if cold && !r.passage.marked {
		if err := r.hear(ctx, 2*r.opts.settle); err != nil {
			return err
		}
	}
	if err := r.move(ctx, settled); err != nil {
		return err
	}
	do := how{cause: CauseResync, early: !r.passage.marked}
	if first {
		do.cause = CauseSnapshot
	}
	if err := r.load(ctx, do); err != nil {
		return err
	}
	r.reread.Store(false)
	if err := r.settleDoubts(ctx); err != nil {
		return err
	}
	if err := r.move(ctx, caughtUp); err != nil {
		return err
	}
	return r.tend(ctx)
}

// coldAfter is for how long a channel has to be away before the server may have
// stopped reading its log.
const coldAfter = 30 * time.Second

// hear waits until an event has come, or for as long as a server that starts takes
// until it reads its log: what is committed before that never comes, and is read
// from the table if that is read later.
func (r *runner[K, T]) hear(ctx context.Context, atMost time.Duration) error {
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-r.heard:
	case <-timer.C:
	case <-ctx.Done():
	}
	return ctx.Err()
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
	again := time.NewTimer(0) // there may be doubts from the load, or from before the gap
	defer again.Stop()
	var verified time.Time
	for {
		var err error
		select {
		case <-r.doubt:
			err = r.readDoubtful(ctx, again)
		case <-again.C:
			err = r.readDoubtful(ctx, again)
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
		if err != nil && (reshapedBy(err) || !errors.Is(err, errEpochOver)) {
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
	case do.cause == CauseResync && !r.reread.Load() && !r.unversioned.Load() && r.source.facts.level3 && len(r.version.columns) > 0:
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
	if err == nil {
		_, err = r.readKeys(ctx, keys, do)
	}
	if err != nil {
		return err
	}
	return errors.Join(r.move(ctx, loaded), r.passing(ctx, 0, func() {}))
}

// maxDoubtful is how many rows are read by their keys at once.
const maxDoubtful = 500

// settleDoubts reads the rows in doubt until none is left that no read has covered
// since the call.
func (r *runner[K, T]) settleDoubts(ctx context.Context) error {
	again := time.NewTimer(0)
	defer again.Stop()
	var at moment
	if err := r.do(ctx, func() { at = r.now(); r.want(at) }); err != nil {
		return err
	}
	for {
		oldest := at
		if err := r.do(ctx, func() { oldest = r.core.oldestDoubt() }); err != nil || oldest == 0 || oldest > at {
			return err
		}
		if err := r.readDoubtful(ctx, again); err != nil {
			return err
		}
		select {
		case <-r.doubt: // or a read has been merged
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// want has the doubts from before a moment read at once.
func (t *Table[K, T]) want(at moment) {
	t.core.wanted = max(t.core.wanted, at)
	signal(t.doubt)
}

// readDoubtful sends reads of what is in doubt and due, and sets the timer to when
// something will be. It does not wait until the stream has passed the reads.
func (r *runner[K, T]) readDoubtful(ctx context.Context, again *time.Timer) error {
	for {
		var keys []K
		var blind bool
		var wait time.Duration
		if err := r.do(ctx, func() { keys, blind, wait = r.core.due(r.now(), maxDoubtful) }); err != nil {
			return err
		}
		switch {
		case blind:
			if err := r.readBlind(ctx); err != nil {
				return err
			}
		case len(keys) > 0:
			if _, err := r.askKeys(ctx, keys, how{cause: CauseRepair}, &found{}); err != nil {
				return err
			}
		case wait > 0:
			again.Reset(wait)
			return nil
		default:
			return nil
		}
	}
}

// readBlind reads all rows, for events that do not say which row they are of.
func (r *runner[K, T]) readBlind(ctx context.Context) (err error) {
	if r.core.bound.evicts() {
		var all *read
		if err := r.do(ctx, func() { all = r.core.request(r.now()) }); err != nil {
			return err
		}
		defer all.over.Store(true)
		if _, err := r.checkHeld(ctx, how{cause: CauseRepair}); err != nil {
			return err
		}
		return r.do(ctx, func() { r.core.sighted(all) })
	}
	_, err = r.loadAll(ctx, how{cause: CauseRepair}, true)
	return err
}

// resyncByDigest reads what differs behind a gap, by columns that change
// whenever a row does. Rows in doubt are read in any case, see keep.
func (r *runner[K, T]) resyncByDigest(ctx context.Context, do how) error {
	var all *read
	if err := r.do(ctx, func() { all = r.core.request(r.now()) }); err != nil {
		return err
	}
	defer all.over.Store(true)
	if _, err := r.checkDigest(ctx, do); err != nil {
		return err
	}
	return r.do(ctx, func() {
		r.core.sighted(all)
		r.publish()
		r.step(loaded)
	})
}
