package enrich

import (
	"context"
	"reflect"
	"sync"
	"time"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/internal/rescue"
)

// holder is a joiner that holds events while it pulls others: those that wait
// for the table's stream (Grace), those whose row is missing (Park), and those
// that are given again when their row changes (Reemit).
//
//	         ┌─▶ early ─┐          ┌─▶ aside ──row there, or ttl──┐
//	input ───┴──────────┴─▶ look ──┴──────────────────────────────┴─▶ output, kept
type holder[L any, K comparable, R any] struct {
	*joiner[L, K, R]
	early lanes[struct{}, L]
	aside lanes[K, L]
	kept  lanes[K, *output[L, R]]
}

// output is the last output of an event.
type output[L, R any] struct {
	left  L
	right R
	found bool
}

func newHolder[L any, K comparable, R any](j *joiner[L, K, R]) *holder[L, K, R] {
	h := &holder[L, K, R]{joiner: j}
	h.early = newLanes[struct{}, L](&j.count.Pending)
	h.aside = newLanes[K, L](&j.count.Pending)
	h.kept = newLanes[K, *output[L, R]](&j.count.Pending)
	return h
}

// run joins until the input has ended and nothing is held any more.
func (h *holder[L, K, R]) run(ctx context.Context, in Stream[L]) error {
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer h.close()
	defer wg.Wait()
	defer stop()
	changes := h.watch(ctx, &wg)
	select {
	case <-changes: // the feed has begun: no row that is missing from now on comes unseen
	case <-ctx.Done():
		return ctx.Err()
	}
	lefts := pump(ctx, &wg, in)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for lefts != nil || h.early.len+h.aside.len > 0 {
		timer.Reset(h.sleep(time.Now()))
		pull := lefts
		if h.early.len >= h.MaxHeld {
			pull = nil
		}
		var err error
		select {
		case left, more := <-pull:
			switch {
			case !more:
				lefts = nil
			case left.err != nil:
				return h.letGo(ctx, left.err)
			default:
				err = h.take(ctx, left.value)
			}
		case c, more := <-changes:
			switch {
			case !more:
				changes = nil // the table has ended, and is Stale
			case c.row:
				err = h.changed(c.key)
			}
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err == nil {
			err = h.ripen(ctx, time.Now())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (h *holder[L, K, R]) close() {
	h.early.close()
	h.aside.close()
	h.kept.close()
}

// touched is a key whose row has changed, or, without row, a sign that the table
// has come to another phase.
type touched[K comparable] struct {
	key K
	row bool
}

// watch sends the keys that change, and the phase at first. A change that is taken
// back while it waits is sent, too: an event may have been joined with the row in
// between. The goroutine ends with ctx, or with the table.
func (h *holder[L, K, R]) watch(ctx context.Context, wg *sync.WaitGroup) <-chan touched[K] {
	out := make(chan touched[K], ahead)
	wg.Go(func() {
		defer close(out)
		_ = rescue.Do("the feed of a Table", func() error { // a panic of it is its end
			for c, err := range h.Table.Changes(ctx, cache.WithPhases(), cache.WithTouched()) {
				if err != nil {
					return err
				}
				if c.Cause == cache.CauseEvicted {
					continue // the row is as it was
				}
				select {
				case out <- touched[K]{c.Key, c.Phase == nil}:
				case <-ctx.Done():
					return nil
				}
			}
			return nil
		})
	})
	return out
}

// sleep is how long there is nothing to do if nothing comes.
func (h *holder[L, K, R]) sleep(now time.Time) time.Duration {
	d := time.Hour
	if h.early.first != nil {
		d = min(d, h.early.first.until.Sub(now))
	}
	if h.aside.first != nil {
		d = min(d, h.aside.first.until.Sub(now))
	}
	return max(d, 0)
}

// take takes an event of the input.
func (h *holder[L, K, R]) take(ctx context.Context, left L) error {
	if h.Grace == 0 {
		return h.join(ctx, left)
	}
	h.early.add(struct{}{}, left, time.Now().Add(h.Grace))
	return nil
}

// ripen goes on with what has been held for long enough.
func (h *holder[L, K, R]) ripen(ctx context.Context, now time.Time) error {
	for h.early.first != nil && (h.early.due(now) || h.passed(h.early.first.value)) {
		left := h.early.first.value
		h.early.drop(struct{}{})
		if err := h.join(ctx, left); err != nil {
			return err
		}
	}
	for h.aside.due(now) {
		h.count.Expired.Add(1)
		if err := h.oldest(false); err != nil {
			return err
		}
	}
	return nil
}

// passed reports whether the table's stream is past an event's time. A gap of
// the input has none, and waits only for what is before it.
func (h *holder[L, K, R]) passed(left L) bool {
	if h.Gap != nil && h.Gap(left) != nil {
		return true
	}
	return h.full.Status().LastCommit.After(h.At(left).Truncate(time.Millisecond))
}

// join looks an event up and gives it, or puts it aside.
func (h *holder[L, K, R]) join(ctx context.Context, left L) error {
	if h.queues(left) {
		return h.park(left)
	}
	var out Joined[L, R]
	k, missed := h.look(left, &out)
	if missed {
		if h.Miss.kind == missPark {
			h.count.Missed.Add(1)
			return h.park(left)
		}
		var err error
		if out, err = h.miss(ctx, out, k); err != nil {
			return err
		}
	}
	return h.giveAndKeep(&out)
}

// queues reports whether an event has to go behind another one of its key.
func (h *holder[L, K, R]) queues(left L) bool {
	if h.aside.len == 0 || h.Gap != nil && h.Gap(left) != nil {
		return false
	}
	k, keyed := h.Key(left)
	return keyed && len(h.aside.of(k)) > 0
}

func (h *holder[L, K, R]) park(left L) error {
	k, _ := h.Key(left)
	if h.aside.len >= h.Miss.max {
		h.count.Overflowed.Add(1)
		if err := h.oldest(true); err != nil {
			return err
		}
	}
	h.aside.add(k, left, time.Now().Add(h.Miss.wait))
	return nil
}

// oldest gives the event that has been aside for longest as it is, and then
// those behind it that have a row.
func (h *holder[L, K, R]) oldest(early bool) error {
	w := h.aside.first
	h.aside.drop(w.key)
	var out Joined[L, R]
	_, missed := h.look(w.value, &out)
	out.Degraded = out.Degraded || early && missed
	if err := h.giveAndKeep(&out); err != nil {
		return err
	}
	return h.release(w.key)
}

// changed goes on with the events of a key whose row has changed, the older ones
// first.
func (h *holder[L, K, R]) changed(k K) error {
	if err := h.again(k); err != nil {
		return err
	}
	return h.release(k)
}

// release gives the events of a key that are aside, up to one whose row is not
// there.
func (h *holder[L, K, R]) release(k K) error {
	for lane := h.aside.of(k); len(lane) > 0; lane = h.aside.of(k) {
		var out Joined[L, R]
		if _, missed := h.look(lane[0].value, &out); missed {
			return nil
		}
		h.aside.drop(k)
		if err := h.giveAndKeep(&out); err != nil {
			return err
		}
	}
	return nil
}

// letGo gives all that is held, as it is, before the error that the input has
// ended with.
func (h *holder[L, K, R]) letGo(ctx context.Context, end error) error {
	if ctx.Err() != nil {
		return end
	}
	for h.early.first != nil {
		left := h.early.first.value
		h.early.drop(struct{}{})
		if err := h.join(ctx, left); err != nil {
			return err
		}
	}
	for h.aside.first != nil {
		if err := h.oldest(true); err != nil {
			return err
		}
	}
	return end
}

// giveAndKeep gives an output, and keeps it for Reemit.
func (h *holder[L, K, R]) giveAndKeep(out *Joined[L, R]) error {
	if h.Reemit != nil && out.Gap == nil {
		h.keep(out)
	}
	return h.give(out)
}

func (h *holder[L, K, R]) keep(out *Joined[L, R]) {
	if h.Captured != nil {
		if _, carried := h.Captured(out.Left); carried {
			return // no change of the table concerns it
		}
	}
	k, keyed := h.Key(out.Left)
	if !keyed {
		return
	}
	now := time.Now()
	for h.kept.due(now) {
		h.kept.drop(h.kept.first.key)
	}
	if h.kept.len >= h.Reemit.Max {
		h.count.Overflowed.Add(1)
		h.kept.drop(h.kept.first.key)
	}
	h.kept.add(k, &output[L, R]{out.Left, out.Right, out.Found}, now.Add(h.Reemit.For))
}

// again gives the kept events of a key whose row is another one now.
func (h *holder[L, K, R]) again(k K) error {
	now := time.Now()
	for _, w := range h.kept.of(k) {
		if !now.Before(w.until) {
			continue
		}
		out := Joined[L, R]{Left: w.value.left, Update: true}
		h.read(&out, k)
		if out.Found == w.value.found && reflect.DeepEqual(out.Right, w.value.right) {
			continue
		}
		w.value.right, w.value.found = out.Right, out.Found
		if err := h.give(&out); err != nil {
			return err
		}
	}
	return nil
}
