package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gapless-go/gapless/internal/postgrest"
)

// Check is how Verify compares the cache with the table.
type Check uint8

const (
	// ByRows reads the whole table. It finds all that differs.
	ByRows Check = iota
	// ByKeys reads the keys of all rows, and the columns of WithVersion. It
	// finds rows that are missing or should not be there, and, if WithVersion
	// names columns that change whenever the row does, rows that are wrong.
	ByKeys
	// ByDigest asks the database for sums over the same as ByKeys, and reads
	// only the keys of where they differ: little, if little differs. It needs a
	// Marker and the functions of package sql; without, it is ByKeys.
	ByDigest
	// ByCount compares the number of rows. It costs one request, and does not
	// see a row that is wrong, nor one that is missing where another should not
	// be there. What it finds is looked for by keys.
	ByCount
)

// String returns the check in words.
func (c Check) String() string {
	switch c {
	case ByRows:
		return "rows"
	case ByKeys:
		return "keys"
	case ByDigest:
		return "digest"
	case ByCount:
		return "count"
	}
	return fmt.Sprintf("Check(%d)", uint8(c))
}

// Report is what a verification found.
type Report struct {
	Check   Check
	Rows    int // in the cache, at the end
	Missing int // rows that the cache lacked
	Ghosts  int // rows that the table does not have, or that the role may not see any more
	Wrong   int // rows with other values
	// Skipped counts rows that changed meanwhile, of which nothing can be told.
	Skipped  int
	Repaired bool  // all of the above, but for Skipped, has been put right
	Bytes    int64 // of the answers of the REST API, to all that the Table asked meanwhile
	Took     time.Duration
}

// Differences returns how many rows were not as in the table.
func (r Report) Differences() int { return r.Missing + r.Ghosts + r.Wrong }

// Verify compares the cache with the table, and puts right what differs if it
// is to repair: the feed has that with CauseRepair. Without a choice of check it
// is the cheapest that sees all that a digest or keys can: ByDigest with a Marker
// and WithVersion, else ByRows.
//
// It blocks until the Table is Synced, and while it reads; rows that change
// meanwhile are skipped, with a Marker exactly those, without one some more. It
// returns ctx's error, that of a request that does not pass, or the one that Run
// ended with. When changes may have been lost meanwhile it begins anew.
//
// A cache with WithMaxRows and Evict has the rows checked that it holds.
func (t *Table[K, T]) Verify(ctx context.Context, repair bool, check ...Check) (Report, error) {
	if t.compute != nil {
		return Report{}, errComputed
	}
	by := t.bestCheck()
	if len(check) > 0 {
		by = check[0]
	}
	for {
		if err := t.WaitSynced(ctx); err != nil {
			return Report{}, err
		}
		report, err := t.verifyOnce(ctx, repair, by)
		if !errors.Is(err, errEpochOver) {
			return report, err
		}
	}
}

func (t *Table[K, T]) bestCheck() Check {
	if t.opts.marker != nil && len(t.opts.version) > 0 {
		return ByDigest
	}
	return ByRows
}

func (t *Table[K, T]) verifyOnce(ctx context.Context, repair bool, by Check) (Report, error) {
	start := time.Now()
	do := how{cause: CauseRepair, look: !repair}
	before := t.source.received.bytes.Load()
	var began uint64
	if err := t.do(ctx, func() { began = t.core.pos.Epoch }); err != nil {
		return Report{}, err
	}
	f, by, err := t.check(ctx, do, by)
	if err != nil {
		return Report{}, err
	}
	r := Report{Check: by, Missing: f.missing, Ghosts: f.ghosts, Wrong: f.wrong, Skipped: f.skipped,
		Repaired: repair, Bytes: t.source.received.bytes.Load() - before, Took: time.Since(start)}
	var ended uint64
	err = t.do(ctx, func() { r.Rows, ended = t.core.rows.Len(), t.core.pos.Epoch })
	if err == nil && ended != began { // what was read before the gap was compared with nothing
		err = errEpochOver
	}
	if err != nil {
		return Report{}, err
	}
	t.noteVerified(r)
	return r, nil
}

func (t *Table[K, T]) noteVerified(r Report) {
	t.note(func(s *Status) { s.Verified, s.LastReport = time.Now(), r })
}

// check compares in one of the ways, and says which it was in the end.
func (t *Table[K, T]) check(ctx context.Context, do how, by Check) (f found, _ Check, err error) {
	if by == ByCount && !t.core.bound.evicts() {
		if same, err := t.sameCount(ctx); same || err != nil {
			return f, ByCount, err
		}
		by = ByKeys
	}
	if t.unversioned.Load() {
		by = ByRows
	}
	switch {
	case t.core.bound.evicts():
		f, err = t.checkHeld(ctx, do)
		return f, ByRows, err
	case by == ByDigest && t.source.facts.level3 && t.opts.marker != nil:
		f, err = t.checkDigest(ctx, do)
		return f, ByDigest, err
	case by == ByDigest:
		by = ByKeys
	}
	if by == ByRows {
		f, err = t.loadAll(ctx, do, true)
	} else {
		f, err = t.checkKeys(ctx, do)
	}
	return f, by, err
}

// checkHeld reads the rows that a part of the table has.
func (t *Table[K, T]) checkHeld(ctx context.Context, do how) (f found, err error) {
	var keys []K
	if err := t.do(ctx, func() {
		for k := range t.core.rows.All() {
			keys = append(keys, k)
		}
	}); err != nil {
		return f, err
	}
	return t.readKeys(ctx, keys, do)
}

// sameCount compares the number of rows. An event that comes between the count
// and the mark behind it makes the comparison worth nothing: then it is not the
// same, and the keys are looked at.
func (t *Table[K, T]) sameCount(ctx context.Context) (same bool, err error) {
	var count int
	var before, after uint64
	var rows int
	if err := t.do(ctx, func() { before = t.core.counts.events }); err != nil {
		return false, err
	}
	if err := t.again(ctx, ofRows, func() error {
		return t.source.asking(func(api *postgrest.Table) (err error) { count, err = api.Count(ctx); return err })
	}); err != nil {
		return false, err
	}
	err = t.passing(ctx, 0, func() { rows, after = t.core.size(), t.core.counts.events })
	return rows == count && before == after, err
}

// checkKeys reads the keys of the table, and then the rows of those that
// differ.
func (t *Table[K, T]) checkKeys(ctx context.Context, do how) (f found, err error) {
	select {
	case t.loading <- struct{}{}:
		defer func() { <-t.loading }()
	case <-ctx.Done():
		return f, ctx.Err()
	}
	all, err := t.startLoad(ctx)
	if err != nil {
		return f, err
	}
	defer all.over.Store(true)
	var differ []K
	if err := t.fromTheStart(ctx, func() error {
		differ, f = nil, found{}
		read := pages{}
		for after := []string(nil); ; {
			var p page[K, T]
			rd, err := t.reading(ctx, nil, func() (err error) {
				if p, err = t.source.narrow(t.opts.version).page(ctx, after, t.opts.pageSize, ""); err != nil {
					return err
				}
				return read.read(p.last)
			})
			if err != nil {
				return err
			}
			if err := t.passing(ctx, 0, func() {
				t.core.see(p.rows)
				differ = append(differ, t.differing(rd, p, &f)...)
			}); err != nil {
				return err
			}
			rd.over.Store(true)
			if after = p.last; after == nil {
				return nil
			}
		}
	}); err != nil {
		return f, err
	}
	var ghosts []K
	if err := t.passing(ctx, 0, func() {
		for _, k := range t.core.unseen() {
			before, there := t.core.rows.Peek(k)
			switch d := t.core.compare(all, k, nil, before, there); {
			case d.ghosts > 0:
				ghosts = append(ghosts, k)
			default:
				f.add(d)
			}
		}
	}); err != nil {
		return f, err
	}
	part, err := t.readKeys(ctx, append(differ, ghosts...), do) // which counts what differs, and puts it right
	f.add(part)
	return f, err
}

// differing returns the keys of a page that the cache lacks, or has with
// another version.
func (t *Table[K, T]) differing(rd *read, p page[K, T], f *found) (keys []K) {
	for i := range p.rows {
		k := p.rows[i].key
		e, there := t.core.rows.Peek(k)
		switch {
		case t.core.touched(rd, k, e, there):
			f.skipped++
		case !there || !t.version.same(e.value, p.rows[i].row):
			keys = append(keys, k)
		}
	}
	return keys
}
