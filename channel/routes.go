package channel

import (
	"cmp"
	"slices"
)

// routes tells for which bindings of which subscriptions a change is, by the
// ids that the server gave the bindings of a join. Two bindings may have one
// id.
type routes map[int64][]route

// route is one binding of the channel.
type route struct {
	sub     *Subscription
	binding int // its index in the subscription
	order   int // its index in the channel
}

func newRoutes(subs []*Subscription, ids []int64) routes {
	r := make(routes, len(ids))
	for _, s := range subs {
		for i := range s.bindings {
			id := ids[s.first+i]
			r[id] = append(r[id], route{s, i, s.first + i})
		}
	}
	return r
}

// of returns where a change goes, in the order of the bindings. An id that the
// server repeats, as it does for equal bindings, counts once.
func (r routes) of(ids []int64) []route {
	if len(ids) == 1 {
		return r[ids[0]]
	}
	var all []route
	for i, id := range ids {
		if !slices.Contains(ids[:i], id) {
			all = append(all, r[id]...)
		}
	}
	slices.SortFunc(all, func(a, b route) int { return cmp.Compare(a.order, b.order) })
	return all
}
