package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gapless-go/gapless/cdc"
)

// Sync keeps a search index in step with a table.
//
// The stream of changes says where it may be incomplete, by a cdc.Gap; the
// first of those is its beginning. Behind each gap the table is read anew, page
// by page, and the index made equal to it: what differs is written, what is
// gone removed, and the index is never cleared. Meanwhile nothing is taken from
// the subscription, so that its queue holds the changes that come; they are
// applied in order when the table has been read. A page may be older or newer
// than some of them, which does no harm: whatever the page said of a row, the
// last change of that row is applied behind it. Were the changes applied at
// once, an older page could undo them; were those before the page dropped, a
// change that its reading had not seen yet would be lost.
//
// A gap that opens while the table is read comes out of the queue behind the
// changes before it, and the table is read once more.
type Sync struct {
	Stream Stream
	Table  *Table
	Sink   Sink
	// Settle is how long a transaction may be in the database's log, and so in
	// the stream, before a reader of the table sees it. The table is not read
	// earlier than that behind the end of a gap, nor a row earlier than that
	// behind the change that asks for it.
	Settle time.Duration
	// Every is how often the table is read anew without a gap, 0 never. Some
	// things make no change: a TRUNCATE, a row that a policy hides from now on.
	Every time.Duration
	Log   *slog.Logger

	status tracker

	// These are Run's alone.
	pending batch
	flush   <-chan time.Time // when to write what is pending; nil: nothing is
	reread  []due            // rows to read from the table, the earliest first
	read    <-chan time.Time // when to read the first of them; nil: there is none
	whole   bool             // read the whole table, since nobody can tell which row changed
}

// Stream is a stream of changes; *channel.Subscription is one.
type Stream interface {
	Changes(ctx context.Context) iter.Seq2[cdc.Change, error]
}

// batch is what changes ask for and is not yet in the index.
type batch struct {
	documents map[string]*Document // by ID; nil is a document to remove
	changes   int
	committed time.Time // the last of them
	recent    []Recent
}

// due is a row to read from the table, and the earliest time for it.
type due struct {
	id string
	at time.Time
}

// flushDelay is how long changes wait for others, so that the index is written,
// and the table read, in batches.
const flushDelay = 100 * time.Millisecond

// Run syncs until the stream ends, or the table or the index refuses for good,
// and returns the reason; or until ctx ends, and returns its error.
func (s *Sync) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	changes, ended := make(chan cdc.Change), make(chan error, 1)
	var pump sync.WaitGroup
	pump.Go(func() { ended <- pass(ctx, s.Stream, changes) })
	defer pump.Wait()
	defer stop()
	var periodic <-chan time.Time
	if s.Every > 0 {
		periodic = time.Tick(s.Every)
	}
	for {
		var err error
		select {
		case c := <-changes:
			err = s.take(ctx, c)
		case <-s.flush:
			if err = s.write(ctx); err == nil && s.whole {
				err = s.reconcile(ctx)
			}
		case <-s.read:
			err = s.readDue(ctx)
		case <-periodic:
			if err = s.write(ctx); err == nil {
				err = s.reconcile(ctx)
			}
		case err = <-ended:
			if ctx.Err() == nil {
				err = errors.Join(err, s.write(ctx))
			}
		}
		if err != nil {
			return err
		}
	}
}

// pass hands the changes on until the stream or ctx ends.
func pass(ctx context.Context, from Stream, to chan<- cdc.Change) error {
	for c, err := range from.Changes(ctx) {
		if err != nil {
			return err
		}
		select {
		case to <- c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return errors.New("the stream ended without a reason")
}

// take decides what a value of the stream means for the index.
func (s *Sync) take(ctx context.Context, c cdc.Change) error {
	if c.Gap != nil {
		return s.gap(ctx, *c.Gap)
	}
	e, err := cdc.As[row](c)
	var incomplete *cdc.IncompleteError
	switch {
	case errors.As(err, &incomplete) && (incomplete.Reason == cdc.NoPrimaryKey || incomplete.Reason == cdc.Unauthorized):
		return fmt.Errorf("the table cannot be followed: %w", err)
	case err != nil && incomplete == nil:
		return err
	}
	id, known := rowID(e.New, s.Table.ID)
	oldID, oldKnown := rowID(e.Old, s.Table.ID)
	if oldKnown && oldID != id { // a Delete, or an Update of the primary key
		s.put(c, oldID, nil)
	}
	switch {
	case c.Op == cdc.Delete && oldKnown:
	case c.Op == cdc.Delete || !known:
		s.Log.Warn("a change does not say which row it is of: the table is read anew", "op", c.Op, "error", err)
		s.whole = true
	case incomplete != nil || !s.Table.exact(c, e.New):
		s.readLater(id)
	default:
		d, err := newDocument(id, e.New, s.Table.Fields)
		if err != nil {
			return err
		}
		s.put(c, id, &d)
	}
	return s.taken(ctx, c)
}

// put notes what is to become of a document: written, or, if d is nil,
// removed. Of one document the last counts.
func (s *Sync) put(c cdc.Change, id string, d *Document) {
	if s.pending.documents == nil {
		s.pending.documents = map[string]*Document{}
	}
	s.pending.documents[id] = d
	s.pending.recent = append(s.pending.recent, Recent{Op: c.Op.String(), ID: id, Document: d})
}

// taken counts a change and sees to it that what is pending is written soon.
func (s *Sync) taken(ctx context.Context, c cdc.Change) error {
	s.pending.changes++
	s.pending.committed = c.Committed
	if len(s.pending.documents) >= maxBatch {
		return s.write(ctx)
	}
	if s.flush == nil {
		s.flush = time.After(flushDelay)
	}
	return nil
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
	if err := s.Sink.Upsert(ctx, docs); err != nil {
		return err
	}
	if err := s.Sink.Delete(ctx, gone); err != nil {
		return err
	}
	s.status.applied(s.pending, len(s.reread))
	s.pending, s.flush = batch{}, nil
	return nil
}

// gap reads the table behind a gap that has closed. What came before the gap is
// written first: it must not undo what is read now.
func (s *Sync) gap(ctx context.Context, g cdc.Gap) error {
	s.Log.Info(g.String())
	s.status.gap(g)
	if g.Open() {
		return nil
	}
	if err := s.write(ctx); err != nil {
		return err
	}
	return s.reconcile(ctx)
}

// reconcile makes the index equal to the table. It waits first, so that every
// change that was taken from the stream before can be seen in the table; the
// others are applied behind it.
func (s *Sync) reconcile(ctx context.Context) error {
	if err := sleep(ctx, s.Settle); err != nil {
		return err
	}
	start := time.Now()
	s.whole = false
	stale, err := s.hashes(ctx)
	if err != nil {
		return err
	}
	var done Reading
	for page, err := range s.Table.Pages(ctx) {
		if err != nil {
			return err
		}
		var differ []Document
		for _, d := range page.Documents {
			if hash, there := stale[d.ID]; !there || hash != d.Hash {
				differ = append(differ, d)
			}
			delete(stale, d.ID)
		}
		if err := s.Sink.Upsert(ctx, differ); err != nil {
			return err
		}
		done.Rows += len(page.Documents)
		done.Written += len(differ)
		s.status.reading(done, page.Total)
	}
	if err := s.Sink.Delete(ctx, slices.Collect(maps.Keys(stale))); err != nil {
		return err
	}
	done.Removed, done.Seconds = len(stale), time.Since(start).Seconds()
	s.status.read(done)
	s.Log.Info("the table was read", "rows", done.Rows, "written", done.Written, "removed", done.Removed)
	return nil
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

// readLater notes a row that is to be read from the table because its change
// did not say all. Until then the index has it as it was.
func (s *Sync) readLater(id string) {
	s.reread = append(s.reread, due{id, time.Now().Add(s.Settle)})
	if s.read == nil {
		s.read = time.After(s.Settle + flushDelay)
	}
}

// readDue reads the rows whose time has come.
func (s *Sync) readDue(ctx context.Context) error {
	now, rows := time.Now(), map[string]*Document{}
	for len(s.reread) > 0 && !s.reread[0].at.After(now) {
		rows[s.reread[0].id] = nil // which is gone, unless it is found
		s.reread = s.reread[1:]
	}
	s.read = nil
	if len(s.reread) > 0 {
		s.read = time.After(time.Until(s.reread[0].at) + flushDelay)
	}
	found, err := s.Table.Read(ctx, slices.Collect(maps.Keys(rows)))
	if err != nil {
		return err
	}
	for _, d := range found {
		rows[d.ID] = &d
	}
	for id, d := range rows {
		s.put(cdc.Change{Op: cdc.Update}, id, d)
	}
	return s.write(ctx)
}
