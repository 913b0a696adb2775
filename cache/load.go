package cache

import (
	"context"
	"errors"
	"slices"

	"github.com/gapless-go/gapless/internal/rescue"

	"github.com/gapless-go/gapless/internal/backoff"
	"github.com/gapless-go/gapless/internal/postgrest"
)

// maxOpen and maxOpenBytes are how many pages may wait for the stream to pass the
// place where they were read.
const (
	maxOpen      = 128
	maxOpenBytes = 32 << 20
)

// loadedPage is a page that was read and is to be merged.
type loadedPage[K comparable, T any] struct {
	page[K, T]
	read *read
}

// openPage is a page that may wait for its mark.
type openPage struct {
	*held
	read  *read
	bytes int64
}

// loadAll reads the whole table and makes the cache equal to it, or, if it is
// not whole, as much as the cache may hold. A row that an event told of
// meanwhile is what the event says. With a Marker, a page is merged when the
// stream has come to where the table was when it was read. The next ones are read
// meanwhile.
func (t *Table[K, T]) loadAll(ctx context.Context, do how, whole bool) (f found, err error) {
	select {
	case t.loading <- struct{}{}: // one at a time: a load marks what it has seen
		defer func() { <-t.loading }()
	case <-ctx.Done():
		return f, ctx.Err()
	}
	all, err := t.startLoad(ctx)
	if err != nil {
		return f, err
	}
	defer all.over.Store(true)
	open, err := t.loadPages(ctx, do, whole, all.epoch, &f)
	if err == nil {
		over := false
		err = t.do(ctx, func() {
			if over = all.epoch != t.core.pos.Epoch; !over {
				t.publish()
				t.step(loaded)
			}
		})
		if over {
			err = errEpochOver
		}
	}
	if err == nil {
		err = t.passing(ctx, 0, func() {
			if whole {
				f.add(t.core.endLoad(all, do))
				t.core.sighted(all)
			}
		})
	}
	for _, p := range open { // then f is not the loop's any more
		err = errors.Join(err, t.closePage(ctx, p))
	}
	return f, err
}

// startLoad begins a load, and the read that finds out in the end what is not
// there.
func (t *Table[K, T]) startLoad(ctx context.Context) (all *read, err error) {
	err = t.do(ctx, func() {
		all = t.core.startLoad(t.now())
		t.note(func(s *Status) { s.Loaded, s.Total = 0, 0 })
	})
	return all, err
}

// loadPages merges the pages of a load, of which the next is read meanwhile. It
// ends with the epoch: what it has read counts for nothing then. Pages that it
// returns may wait for their mark still.
func (t *Table[K, T]) loadPages(ctx context.Context, do how, whole bool, epoch uint64, f *found) (open []openPage, err error) {
	ctx, stop := context.WithCancel(ctx)
	ahead := make(chan loadedPage[K, T], 1)
	var failed error // of the reader, once ahead is closed
	go func() {      // until there are no more pages, or ctx ends, which is waited for below
		defer close(ahead)
		failed = rescue.Do("the reader of "+t.String(), func() error { return t.readPages(ctx, whole, ahead) })
	}()
	defer func() {
		stop()
		for p := range ahead {
			p.read.over.Store(true)
		}
	}()
	var bytes int64 // that open has
	for p := range ahead {
		if p.read.epoch != epoch {
			p.read.over.Store(true)
			return open, errEpochOver
		}
		o, err := t.mergePage(ctx, p, do, f)
		if open, bytes = append(open, o), bytes+o.bytes; err != nil {
			return open, err
		}
		for len(open) > maxOpen || len(open) > 1 && bytes > maxOpenBytes {
			first := open[0]
			open, bytes = open[1:], bytes-first.bytes
			if err := t.closePage(ctx, first); err != nil {
				return open, err
			}
		}
	}
	return open, failed
}

// readPages reads the pages of a load, one after the other: each begins behind
// the last key of the one before.
func (t *Table[K, T]) readPages(ctx context.Context, whole bool, to chan<- loadedPage[K, T]) error {
	return t.fromTheStart(ctx, func() error { return t.readEachPage(ctx, whole, to) })
}

func (t *Table[K, T]) readEachPage(ctx context.Context, whole bool, to chan<- loadedPage[K, T]) error {
	rows, size, read := 0, t.opts.pageSize, pages{}
	for after := []string(nil); ; {
		var p page[K, T]
		rd, err := t.reading(ctx, nil, func() (err error) {
			if p, err = t.source.page(ctx, after, size, t.opts.marker.known()); err != nil {
				return err
			}
			return read.read(p.last)
		})
		if err != nil {
			return err
		}
		select {
		case to <- loadedPage[K, T]{p, rd}:
		case <-ctx.Done():
			rd.over.Store(true)
			return ctx.Err()
		}
		rows += len(p.rows)
		switch max := t.opts.maxRows; {
		case p.last == nil: // a short page is not the last: the server has a limit of its own
			return nil
		case max.limit > 0 && max.full == Fail && rows > max.limit:
			return t.source.fail(ErrTooManyRows)
		case !whole && rows >= max.limit:
			return nil
		}
		after, size = p.last, p.next(t.opts.pageSize)
	}
}

// fromTheStart reads a list of pages, and begins anew when a page comes for another
// one: what was read behind such a page is wrong, and where it went wrong nobody can
// tell.
func (t *Table[K, T]) fromTheStart(ctx context.Context, read func() error) error {
	t.judge(ofPages, nil)
	for n := 0; ; n++ {
		err := read()
		switch {
		case err == nil:
			t.judge(ofPages, nil)
			return nil
		case !errors.Is(err, errRepeated):
			return err
		case t.judge(ofPages, err):
			return t.source.fail(err)
		}
		if err := sleep(ctx, backoff.Full(n, retryMin, retryMax)); err != nil {
			return err
		}
	}
}

// pages are the last keys of the pages of a list that have been read. Each page
// begins behind the last key of the one before, so that none comes twice.
type pages map[string]struct{}

// read notes a page by its last key. The error is errRepeated.
func (p pages) read(last []string) error {
	if last == nil {
		return nil
	}
	name := postgrest.KeyText(last)
	if _, again := p[name]; again {
		return errRepeated
	}
	p[name] = struct{}{}
	return nil
}

// mergePage has the loop merge a page, now or at its mark.
func (t *Table[K, T]) mergePage(ctx context.Context, p loadedPage[K, T], do how, f *found) (openPage, error) {
	job := func() {
		f.add(t.core.merge(p.read, p.rows, do))
		p.read.over.Store(true)
		t.note(func(s *Status) {
			s.Loaded += len(p.rows)
			s.Total = max(s.Total, p.total, s.Loaded)
		})
	}
	if do.early {
		return openPage{bytes: p.bytes}, t.do(ctx, job)
	}
	h, err := t.holdJob(ctx, p.seq, job)
	return openPage{h, p.read, p.bytes}, err
}

// closePage waits until a page has been merged, or gives it up.
func (t *Table[K, T]) closePage(ctx context.Context, p openPage) error {
	if p.held == nil { // it was merged at once
		return nil
	}
	defer p.read.over.Store(true)
	return t.await(ctx, p.held)
}

// reading makes a read of the table, again and again until it succeeds, and
// returns what is known of the time of the one that did. keys are those of rows in
// doubt that it is to settle.
func (t *Table[K, T]) reading(ctx context.Context, keys []K, get func() error) (rd *read, err error) {
	err = t.again(ctx, ofRows, func() error {
		if rd != nil {
			rd.over.Store(true)
		}
		if err := t.do(ctx, func() { rd = t.core.request(t.now()); t.core.ask(keys, rd) }); err != nil {
			return err
		}
		return get()
	})
	if err != nil && rd != nil {
		rd.over.Store(true)
	}
	return rd, err
}

// readKeys reads rows by their keys and merges them.
func (t *Table[K, T]) readKeys(ctx context.Context, keys []K, do how) (f found, err error) {
	var open []openPage
	for some := range slices.Chunk(keys, maxDoubtful) {
		var p openPage
		if p, err = t.askKeys(ctx, some, do, &f); err != nil {
			break
		}
		if open = append(open, p); len(open) > maxOpen {
			err = t.closePage(ctx, open[0])
			open = open[1:]
		}
	}
	for _, p := range open { // then f is not the loop's any more
		err = errors.Join(err, t.closePage(ctx, p))
	}
	return f, err
}

// askKeys reads some rows by their keys, which the loop merges when the stream has
// passed the read. That is not waited for.
func (t *Table[K, T]) askKeys(ctx context.Context, keys []K, do how, f *found) (openPage, error) {
	var p page[K, T]
	rd, err := t.reading(ctx, keys, func() (err error) {
		p, err = t.source.byKeys(ctx, keys)
		return err
	})
	if err != nil {
		return openPage{}, err
	}
	job := func() {
		f.add(t.core.merge(rd, p.rows, do))
		f.add(t.core.absent(rd, without(keys, p.rows), do))
		rd.over.Store(true)
		signal(t.doubt)
	}
	if do.early {
		return openPage{}, t.do(ctx, job)
	}
	h, err := t.holdJob(ctx, 0, job)
	return openPage{held: h, read: rd}, err
}

// without returns the keys of which there is no row.
func without[K comparable, T any](keys []K, rows []shown[K, T]) []K {
	found := make(map[K]bool, len(rows))
	for i := range rows {
		found[rows[i].key] = true
	}
	var rest []K
	for _, k := range keys {
		if !found[k] {
			rest = append(rest, k)
		}
	}
	return rest
}
