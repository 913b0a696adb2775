package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/cdc"
)

// Sync keeps a search index equal to a cache, which keeps itself equal to the
// table: it carries out the net changes that the cache tells of, whatever is
// behind them. All that has to do with gaps, with rows to be read again and with
// connections is the cache's.
//
// An index that stays from an earlier run is never cleared. A document that the
// table has in the same form is left alone; what the table has not told of when
// the cache is in step for the first time is not there any more, and is removed.
type Sync struct {
	Table  *cache.Table[string, row]
	Fields []string // the columns that the index has
	Sink   Sink
	Log    *slog.Logger

	status tracker

	// These are Run's alone.
	before  map[string]string // of documents from an earlier run that the table has not told of: hash by ID; nil in the end
	pending batch
	flush   <-chan time.Time // when to write what is pending; nil: nothing is
}

type change = cache.Change[string, row]

// batch is what is not yet in the index.
type batch struct {
	documents map[string]*Document // by ID; nil is a document to remove
	recent    []Recent
	resynced  int // changes that were found by reading the table, and not told by the stream
}

// flushDelay is how long changes wait for others, so that the index is written
// in batches.
const flushDelay = 100 * time.Millisecond

// Run syncs until the cache ends, or the index refuses for good, and returns
// the reason; or until ctx ends, and returns its error. While the index is slow
// the cache keeps what waits for it, one change for each row.
func (s *Sync) Run(ctx context.Context) (err error) {
	if s.before, err = s.hashes(ctx); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	changes, ended := make(chan change), make(chan error, 1)
	var pump sync.WaitGroup
	pump.Go(func() { ended <- s.pass(ctx, changes) })
	defer pump.Wait()
	defer stop()
	for err == nil {
		select {
		case c := <-changes:
			err = s.take(ctx, c)
		case <-s.flush:
			err = s.write(ctx)
		case err = <-ended:
			if ctx.Err() == nil {
				err = errors.Join(err, s.write(ctx))
			}
		}
	}
	return err
}

// hashes returns what the index has: a hash by ID.
func (s *Sync) hashes(ctx context.Context) (map[string]string, error) {
	hashes := map[string]string{}
	for d, err := range s.Sink.All(ctx) {
		if err != nil {
			return nil, err
		}
		hashes[d.ID] = d.Hash
	}
	return hashes, nil
}

// pass hands the changes on until the cache or ctx ends. It lets Run wait for
// more of them for a while, and no longer.
func (s *Sync) pass(ctx context.Context, to chan<- change) error {
	for c, err := range s.Table.Changes(ctx, cache.WithInitial(), cache.WithPhases()) {
		if err != nil {
			return err
		}
		select {
		case to <- c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return errors.New("the changes ended without a reason")
}

// take takes a value of the feed.
func (s *Sync) take(ctx context.Context, c change) error {
	switch {
	case c.Phase != nil:
		return s.phase(ctx, *c.Phase)
	case c.InitialEnd: // the rows of a checkpoint, or none: the table itself is told later
		return nil
	}
	var d *Document
	if c.Op != cdc.Delete {
		made, err := newDocument(c.Key, c.New, s.Fields)
		if err != nil {
			s.aside(c.Key, err)
			return nil
		}
		d = &made
	}
	if hash, old := s.before[c.Key]; old {
		delete(s.before, c.Key)
		if d != nil && d.Hash == hash {
			return nil
		}
	}
	s.pending.add(c, d)
	if len(s.pending.documents) >= maxBatch {
		return s.write(ctx)
	}
	if s.flush == nil {
		s.flush = time.After(flushDelay)
	}
	return nil
}

// aside notes a row that the index does not take. It is tried again when it
// changes; the rest goes on.
func (s *Sync) aside(id string, why error) {
	s.Log.Error("a row is not in the index", "id", id, "error", why)
	s.status.refuse(id, why)
}

// phase writes what the cache had when it came to the phase.
func (s *Sync) phase(ctx context.Context, p cache.Phase) error {
	if p == cache.Synced && s.before != nil {
		for id := range s.before {
			s.pending.add(change{Op: cdc.Delete, Key: id, Cause: cache.CauseSnapshot}, nil)
		}
		s.before = nil
	}
	if err := s.write(ctx); err != nil {
		return err
	}
	now := s.Table.Status()
	s.Log.Info("the cache is "+p.String(), "rows", now.Rows, "gaps", now.Gaps)
	s.status.phase(now)
	return nil
}

// add notes what is to become of a document: written, or, if d is nil, removed.
// Of one document the last counts.
func (b *batch) add(c change, d *Document) {
	if b.documents == nil {
		b.documents = map[string]*Document{}
	}
	b.documents[c.Key] = d
	if c.Cause != cache.CauseStream {
		b.resynced++
	}
	if c.Cause != cache.CauseSnapshot {
		b.recent = append(b.recent, Recent{Op: c.Op.String(), Cause: c.Cause.String(), ID: c.Key, Document: d})
	}
}

// write writes what is pending.
func (s *Sync) write(ctx context.Context) error {
	var docs []Document
	var gone []string
	for id, d := range s.pending.documents {
		if d == nil {
			gone = append(gone, id)
		} else {
			docs = append(docs, *d)
		}
	}
	var refused *RefusedError
	if err := s.Sink.Upsert(ctx, docs); errors.As(err, &refused) {
		for id, why := range refused.Documents {
			s.aside(id, why)
			gone = append(gone, id) // what the index has of it is of before
		}
		docs = slices.DeleteFunc(docs, func(d Document) bool { return refused.Documents[d.ID] != nil })
	} else if err != nil {
		return err
	}
	for _, d := range docs {
		s.status.taken(d.ID)
	}
	if err := s.Sink.Delete(ctx, gone); err != nil {
		return err
	}
	for _, id := range gone {
		if refused == nil || refused.Documents[id] == nil {
			s.status.taken(id)
		}
	}
	s.status.wrote(s.pending, len(docs), len(gone))
	s.pending, s.flush = batch{}, nil
	return nil
}
