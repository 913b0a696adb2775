package deliver

import (
	"context"
	"sync"
)

// marks are the last keys whose effect was done, those that were buried, and
// those whose effect is under way.
type marks struct {
	mu     *sync.Mutex
	max    int
	done   map[string]struct{}
	ring   []string // the keys of done
	next   int      // place in the ring, once it is full
	owed   map[string]struct{}
	buried map[string]struct{}
	busy   map[string]chan struct{}
}

func newMarks(max int) marks {
	return marks{mu: new(sync.Mutex), max: max, done: map[string]struct{}{}, owed: map[string]struct{}{},
		buried: map[string]struct{}{}, busy: map[string]chan struct{}{}}
}

// once runs an effect under a key; keep makes that durable. If only keep fails,
// the next call with the key calls keep alone.
func (m *marks) once(ctx context.Context, key string, effect func(context.Context, None) error, keep func() error) (bool, error) {
	if key == "" {
		return false, effect(ctx, None{})
	}
	before, owed, err := m.enter(ctx, key)
	if before || err != nil {
		return before, err
	}
	done, kept := owed, false
	defer func() { m.leave(key, done, kept) }() // also of an effect that panics
	if !owed {
		if err := effect(ctx, None{}); err != nil {
			return false, err
		}
	}
	done = true
	if err := keep(); err != nil {
		return owed, &StoreError{"mark", err}
	}
	kept = true
	return owed, nil
}

// enter waits until nobody else works on the key. owed: the effect was done, and
// is to be made durable.
func (m *marks) enter(ctx context.Context, key string) (before, owed bool, err error) {
	for {
		m.mu.Lock()
		_, done := m.done[key]
		_, owed := m.owed[key]
		_, buried := m.buried[key]
		other, busy := m.busy[key]
		before := buried || done && !owed
		if !before && !busy {
			m.busy[key] = make(chan struct{})
		}
		m.mu.Unlock()
		if before || !busy {
			return before, owed, nil
		}
		select {
		case <-other:
		case <-ctx.Done():
			return false, false, ctx.Err()
		}
	}
}

func (m *marks) leave(key string, done, kept bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.busy[key])
	delete(m.busy, key)
	if !done {
		return
	}
	m.add(key)
	if delete(m.owed, key); !kept && m.max > 0 {
		m.owed[key] = struct{}{}
	}
}

// add is called under mu.
func (m *marks) add(key string) {
	if _, there := m.done[key]; there || m.max < 1 {
		return
	}
	if m.done[key] = struct{}{}; len(m.ring) < m.max {
		m.ring = append(m.ring, key)
		return
	}
	delete(m.done, m.ring[m.next])
	delete(m.owed, m.ring[m.next])
	m.ring[m.next] = key
	m.next = (m.next + 1) % m.max
}

func (m *marks) bury(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.buried[key] = struct{}{}
}

// release makes a buried key new.
func (m *marks) release(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.buried, key)
}

// keys returns the keys that are done, the oldest first.
func (m *marks) keys() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append(append(make([]string, 0, len(m.ring)), m.ring[m.next:]...), m.ring[:m.next]...)
}
