package enrich

import (
	"context"
	"iter"
	"time"
)

// Dedup leaves out values whose id came before. A value is remembered when it
// was dealt with, and not before: when the consumer's loop comes back for the
// next one. If the loop is left by a break, a return or a panic it is not, and
// comes again in the next run of the input. So the effect belongs into the loop;
// behind Parallel, or where ids have to outlive the process, use package deliver.
//
// An id is remembered for ttl, and at most max of them are: one more, and the
// oldest is forgotten (see Counters.Overflowed). A value without an id (false),
// such as a gap, always passes. count may be nil. Each run has a memory of its
// own.
func Dedup[T any, ID comparable](in Stream[T], id func(T) (ID, bool), ttl time.Duration, max int, count *Counters) Stream[T] {
	return func(ctx context.Context) iter.Seq2[T, error] {
		return func(yield func(T, error) bool) {
			if ttl <= 0 || max < 1 || id == nil {
				yield(*new(T), &ConfigError{"Dedup", "ttl, max, id", "a time, a number of ids and a function are needed"})
				return
			}
			count := count.orNew()
			seen := memory[ID]{ttl: ttl, max: max, until: map[ID]time.Time{}, count: count}
			defer seen.close()
			for v, err := range in(ctx) {
				if err != nil {
					yield(v, err)
					return
				}
				k, known := id(v)
				known = known && matchable(k)
				if known && seen.has(k, time.Now()) {
					count.Repeated.Add(1)
					continue
				}
				if !yield(v, nil) {
					return
				}
				if known {
					seen.add(k, time.Now())
				}
			}
		}
	}
}

// memory is ids with a time to live.
type memory[ID comparable] struct {
	ttl   time.Duration
	max   int
	until map[ID]time.Time
	queue []ID // those in until, in the order of their times
	count *Counters
}

func (m *memory[ID]) has(k ID, now time.Time) bool {
	until, there := m.until[k]
	return there && now.Before(until)
}

// add adds an id that has is false for. Those whose time is over are forgotten, and
// so it comes last even if it was there before.
func (m *memory[ID]) add(k ID, now time.Time) {
	for len(m.queue) > 0 {
		live := m.has(m.queue[0], now)
		if live && len(m.queue) < m.max {
			break
		}
		if live {
			m.count.Overflowed.Add(1)
		}
		delete(m.until, pop(&m.queue))
		m.count.Pending.Add(-1)
	}
	m.until[k] = now.Add(m.ttl)
	m.queue = append(m.queue, k)
	m.count.Pending.Add(1)
}

func (m *memory[ID]) close() { m.count.Pending.Add(int64(-len(m.queue))) }
