package channel

import (
	"cmp"
	"context"
	"iter"
	"slices"

	"github.com/gapless-go/gapless/cdc"
)

// Subscription is one ordered stream of the changes that its bindings ask for.
// Channel.Subscribe makes one; it lives as long as its channel.
type Subscription struct {
	ch       *Channel
	bindings []Binding
	first    int // the index of bindings[0] among all bindings of the channel
	inbox    *inbox[cdc.Change]
}

var changeTraits = traits[cdc.Change]{
	size: sizeOf,
	note: func(c *cdc.Change, g cdc.Gap, _ Replay) { c.Gap = &g },
}

// sizeOf is roughly what a change holds in memory beside its fixed part.
func sizeOf(c *cdc.Change) int { return len(c.Record) + len(c.OldRecord) }

// Changes joins the channel if that has not been done, and returns the stream.
//
// The stream is in the order in which the server sent the changes, which is
// that of their commits. A value whose Gap is set is no change but a place
// where changes may be missing; the first is the start of the stream (reason
// Started), which comes when the server has confirmed the subscription, maybe
// after changes that were committed before. A change that several bindings of
// the subscription ask for comes once for each, told apart by Change.Binding.
//
// The stream survives losses of the connection and expired tokens. It ends
// with an error, after everything that came before it: ctx's when that ends,
// ErrClosed after Leave or the client's Close, a *JoinError, *SubscribeError
// or *MismatchError when the server refuses for good, or the client's own
// error when that cannot connect at all.
//
// Ending the iteration loses nothing: a later call goes on where it stopped,
// as far as the queue held out. One iteration at a time; a second concurrent
// one ends at once with ErrBusy. The loop blocks while there is nothing to
// take.
func (s *Subscription) Changes(ctx context.Context) iter.Seq2[cdc.Change, error] {
	return stream(ctx, s.ch, s.inbox)
}

// Bindings returns a copy of what the subscription asks for. Change.Binding is
// an index into it.
func (s *Subscription) Bindings() []Binding { return cloneBindings(s.bindings) }

// routes says for which bindings of which subscriptions a change is, by the ids
// that the server gave the bindings of a join. Two bindings may have one id.
// They are in the order of the ids, and of those of one id in that of the
// bindings.
type routes []route

// route is one binding of the channel.
type route struct {
	id      int64
	sub     *Subscription
	binding int // its index in the subscription
	order   int // its index in the channel
}

func newRoutes(subs []*Subscription, ids []int64) *routes {
	r := make(routes, 0, len(ids))
	for _, s := range subs {
		for i := range s.bindings {
			r = append(r, route{ids[s.first+i], s, i, s.first + i})
		}
	}
	slices.SortStableFunc(r, func(a, b route) int { return cmp.Compare(a.id, b.id) })
	return &r
}

// of returns where a change goes, in the order of the bindings. An id that the
// server repeats, as it does for equal bindings, counts once. The cost is that
// of the ids, however many there are.
func (r routes) of(ids []int64) []route {
	if len(ids) == 1 {
		return r[r.first(ids[0]):r.end(ids[0])]
	}
	var all []route
	taken := make([]bool, len(r))
	for _, id := range ids {
		first := r.first(id)
		if first == len(r) || r[first].id != id || taken[first] {
			continue
		}
		taken[first] = true
		all = append(all, r[first:r.end(id)]...)
	}
	slices.SortFunc(all, func(a, b route) int { return cmp.Compare(a.order, b.order) })
	return all
}

// first and end are the bounds of the routes of an id.
func (r routes) first(id int64) int {
	i, _ := slices.BinarySearchFunc(r, id, func(a route, id int64) int { return cmp.Compare(a.id, id) })
	return i
}

func (r routes) end(id int64) int {
	i := r.first(id)
	for i < len(r) && r[i].id == id {
		i++
	}
	return i
}
