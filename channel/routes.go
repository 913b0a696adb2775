package channel

import (
	"cmp"
	"slices"
)

// routes tells for which bindings of which subscriptions a change is, by the
// ids that the server gave the bindings of a join. Two bindings may have one
// id. They are in the order of the ids, and of those of one id in that of the
// bindings.
type routes []route

// route is one binding of the channel.
type route struct {
	id      int64
	sub     *Subscription
	binding int // its index in the subscription
	order   int // its index in the channel
}

func newRoutes(subs []*Subscription, ids []int64) routes {
	r := make(routes, 0, len(ids))
	for _, s := range subs {
		for i := range s.bindings {
			r = append(r, route{ids[s.first+i], s, i, s.first + i})
		}
	}
	slices.SortStableFunc(r, func(a, b route) int { return cmp.Compare(a.id, b.id) })
	return r
}

// of returns where a change goes, in the order of the bindings. An id that the
// server repeats, as it does for equal bindings, counts once.
func (r routes) of(ids []int64) []route {
	if len(ids) == 1 {
		return r.ofOne(ids[0])
	}
	var all []route
	for i, id := range ids {
		if !slices.Contains(ids[:i], id) {
			all = append(all, r.ofOne(id)...)
		}
	}
	slices.SortFunc(all, func(a, b route) int { return cmp.Compare(a.order, b.order) })
	return all
}

func (r routes) ofOne(id int64) []route {
	first, end := 0, len(r)
	for first < end {
		if middle := (first + end) / 2; r[middle].id < id {
			first = middle + 1
		} else {
			end = middle
		}
	}
	for end < len(r) && r[end].id == id {
		end++
	}
	return r[first:end]
}
