package enrich

//lint:file-ignore U1000 staticcheck 0.7 does not see what is used behind a generic interface

import (
	"slices"

	"github.com/gapless-go/gapless/internal/heap"
)

// sessions are windows that the events of a key make.
type sessions[K comparable, L, R any] struct {
	*matcher[K, L, R]
	gap, max int64
	lanes    map[K]*visits[L, R]
	// ends has for each lane an end that the first session in it does not end
	// before. Others of a lane are out of date.
	ends heap.Heap[K]
}

// visits is the events of one key, by their times.
type visits[L, R any] struct {
	events []visit[L, R]
	end    int64 // of the first session, as far as it is known in ends
	n      int   // how many events, from the first on, are known to be of one session
}

type visit[L, R any] struct {
	at    int64
	left  *L // one of the two is set
	right *R
}

func newSessions[K comparable, L, R any](m *matcher[K, L, R]) *sessions[K, L, R] {
	return &sessions[K, L, R]{matcher: m, gap: m.Window.a.Microseconds(), max: m.Window.b.Microseconds(), lanes: map[K]*visits[L, R]{}}
}

func (s *sessions[K, L, R]) late(at int64) bool { return at < less(s.time.now, s.time.grace) }

func (s *sessions[K, L, R]) left(k K, at int64, v *L) bool {
	s.add(k, visit[L, R]{at: at, left: v})
	return true
}

func (s *sessions[K, L, R]) right(k K, at int64, v *R) bool {
	s.add(k, visit[L, R]{at: at, right: v})
	return true
}

func (s *sessions[K, L, R]) add(k K, v visit[L, R]) {
	s.hold(1)
	lane, there := s.lanes[k]
	if !there {
		lane = &visits[L, R]{end: forever}
		s.lanes[k] = lane
	}
	i := len(lane.events)
	for ; i > 0 && lane.events[i-1].at > v.at; i-- {
	}
	lane.events = slices.Insert(lane.events, i, v)
	if i < lane.n {
		lane.n = 0
	}
	if i == 0 {
		s.expect(k, lane, v.at+s.gap)
	}
}

// expect has a lane looked at when the watermark is there, if it is not sooner.
func (s *sessions[K, L, R]) expect(k K, lane *visits[L, R], end int64) {
	if end < lane.end {
		lane.end = end
		s.ends.Push(end, k)
	}
}

// first returns how many events the first session of a lane has, and its end.
func (s *sessions[K, L, R]) first(lane *visits[L, R]) (n int, end int64) {
	lane.n = max(lane.n, 1)
	limit := lane.events[0].at + s.max
	for lane.n < len(lane.events) {
		at := lane.events[lane.n].at
		if at >= limit || at >= lane.events[lane.n-1].at+s.gap {
			break
		}
		lane.n++
	}
	return lane.n, min(lane.events[lane.n-1].at+s.gap, limit)
}

// next brings the ends up to date as far as is needed to know the first.
func (s *sessions[K, L, R]) next() (end int64, ok bool) {
	for len(s.ends) > 0 {
		first := s.ends[0]
		lane, there := s.lanes[first.Value]
		if !there || lane.end != first.At {
			s.ends.Pop()
			continue
		}
		if first.At > less(s.time.now, s.time.grace) {
			return first.At, true // it does not end before, which is enough to know
		}
		_, end := s.first(lane)
		if end == first.At {
			return end, true
		}
		s.ends.Pop()
		lane.end = forever
		s.expect(first.Value, lane, end)
	}
	return 0, false
}

// closeNext closes the session that next has found.
func (s *sessions[K, L, R]) closeNext() bool {
	k := s.ends.Pop().Value
	lane := s.lanes[k]
	n, end := s.first(lane)
	session := lane.events[:n]
	s.hold(-n)
	if !s.pairs(k, session, session[0].at, end) {
		return false
	}
	clear(session)
	lane.events, lane.n, lane.end = lane.events[n:], 0, forever
	if len(lane.events) == 0 {
		delete(s.lanes, k)
	} else {
		s.expect(k, lane, lane.events[0].at+s.gap)
	}
	return true
}

// pairs gives every left of a session with every right.
func (s *sessions[K, L, R]) pairs(k K, session []visit[L, R], start, end int64) bool {
	isLeft := func(v visit[L, R]) bool { return v.left != nil }
	isRight := func(v visit[L, R]) bool { return v.right != nil }
	both := slices.ContainsFunc(session, isLeft) && slices.ContainsFunc(session, isRight)
	for _, v := range session {
		switch {
		case !both:
			if !s.alone(k, v.left, v.right, start, end) {
				return false
			}
		case v.left != nil:
			for _, w := range session {
				if w.right != nil && !s.give(k, v.left, w.right, start, end) {
					return false
				}
			}
		}
	}
	return true
}
