package cache

import (
	"context"
	"errors"
)

// CatchUp waits until the stream has brought all that was committed before the
// call: after a write that the database has acknowledged, the cache shows what was
// written, or what came after that. It cannot know of a change that the server has
// lost without a word and without losing a mark: then it returns nil, and the cache
// lacks the change until it is verified. Refresh cannot be fooled so. It costs one
// update of the Marker's row, and takes as long as a change takes to come.
//
// A Table that is made of others (enrich.JoinTables, enrich.GroupBy) catches up with
// each of them, and then waits until it has taken what they had. It ends when they do;
// the error is an *InputError, and wraps theirs.
//
// It blocks while the Table is not Synced. It returns ErrNoMarker without a
// Marker (see WithMarker), ctx's error, or the one that Run ended with. Under
// row level security, and with a filter, see the package's documentation for
// what no mark shows.
func (t *Table[K, T]) CatchUp(ctx context.Context) error {
	switch {
	case t.compute != nil:
		return t.catchUpInputs(ctx)
	case t.opts.marker == nil:
		return ErrNoMarker
	}
	for {
		if err := t.WaitSynced(ctx); err != nil {
			return err
		}
		var at moment
		err := t.passing(ctx, 0, func() {
			if t.status.Phase == Synced {
				at = t.now()
				t.want(at)
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

// waitCertain waits until each row that was in doubt at that moment has been read
// since, or is certain.
func (t *Table[K, T]) waitCertain(ctx context.Context, at moment) error {
	return t.wait(ctx, func() bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.doubted == 0 || t.doubted > at
	})
}
