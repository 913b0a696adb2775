package deliver

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Store is what a Consumer remembers: which effects were done, how far it came,
// and what it gave up. It is safe for concurrent use. Tx is what effects are
// given to be remembered together with, such as a *sql.Tx; None if there is
// nothing.
//
// Its errors, but those of an effect, are *StoreErrors.
type Store[Tx any] interface {
	// Once runs an effect, unless it was done before under the key, and remembers
	// the key if it succeeds. An effect that fails, or whose error is returned, is
	// not remembered. Two calls with one key at once run one after the other. An
	// empty key is never remembered.
	Once(ctx context.Context, key string, effect func(ctx context.Context, tx Tx) error) (before bool, err error)
	// Position returns the last position that was saved; empty if none was.
	Position(ctx context.Context) (string, error)
	SavePosition(ctx context.Context, position string) error
	// Bury keeps a letter; a later one of the same key takes its place.
	Bury(ctx context.Context, letter Letter) error
}

// None is the Tx of stores without transactions.
type None struct{}

// Letter is a value that was given up: a dead letter.
type Letter struct {
	Key      string    `json:"key"`
	Position string    `json:"position,omitempty"`
	Reason   string    `json:"reason"` // the last error
	Attempts int       `json:"attempts"`
	Value    []byte    `json:"value"` // as Consumer.Encode wrote it
	At       time.Time `json:"at"`
}

// StoreError is a failure of the store, and not of an effect.
type StoreError struct {
	Op  string // such as "mark"
	Err error
}

func (e *StoreError) Error() string { return fmt.Sprintf("deliver: %s: %v", e.Op, e.Err) }
func (e *StoreError) Unwrap() error { return e.Err }

// Memory is a Store that is gone with the process. NewMemory makes one.
type Memory struct {
	marks marks

	mu       sync.Mutex
	position string
	letters  map[string]Letter
	order    []string // of the letters' keys
	max      int
}

// NewMemory makes a Store that remembers the last max keys, and as many letters.
func NewMemory(max int) *Memory {
	return &Memory{marks: newMarks(max), letters: map[string]Letter{}, max: max}
}

// Once is as Store says.
func (m *Memory) Once(ctx context.Context, key string, effect func(context.Context, None) error) (bool, error) {
	return m.marks.once(ctx, key, effect, func() error { return nil })
}

// Position is as Store says.
func (m *Memory) Position(context.Context) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.position, nil
}

// SavePosition is as Store says.
func (m *Memory) SavePosition(_ context.Context, position string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.position = position
	return nil
}

// Bury is as Store says. The oldest letter makes room for one too many.
func (m *Memory) Bury(_ context.Context, letter Letter) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, there := m.letters[letter.Key]; !there {
		m.order = append(m.order, letter.Key)
	}
	m.letters[letter.Key] = letter
	if len(m.order) > m.max {
		delete(m.letters, m.order[0])
		m.order = m.order[1:]
	}
	return nil
}

// Letters returns the letters, the oldest first.
func (m *Memory) Letters() []Letter {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Letter, 0, len(m.order))
	for _, k := range m.order {
		out = append(out, m.letters[k])
	}
	return out
}

// marks are keys whose effect was done, the last ones, and those whose effect is
// under way.
type marks struct {
	mu   *sync.Mutex
	max  int
	done map[string]struct{}
	ring []string
	next int // place in the ring, once it is full
	busy map[string]chan struct{}
}

func newMarks(max int) marks {
	return marks{mu: new(sync.Mutex), max: max, done: map[string]struct{}{}, busy: map[string]chan struct{}{}}
}

// once runs an effect under a key; keep makes that durable.
func (m *marks) once(ctx context.Context, key string, effect func(context.Context, None) error, keep func() error) (bool, error) {
	if key == "" {
		return false, effect(ctx, None{})
	}
	before, err := m.enter(ctx, key)
	if before || err != nil {
		return before, err
	}
	done := false
	defer func() { m.leave(key, done) }() // also of an effect that panics
	if err := effect(ctx, None{}); err != nil {
		return false, err
	}
	if err := keep(); err != nil {
		return false, &StoreError{"mark", err}
	}
	done = true
	return false, nil
}

// enter waits until nobody else works on the key.
func (m *marks) enter(ctx context.Context, key string) (before bool, err error) {
	for {
		m.mu.Lock()
		_, done := m.done[key]
		other, busy := m.busy[key]
		if !done && !busy {
			m.busy[key] = make(chan struct{})
		}
		m.mu.Unlock()
		if done || !busy {
			return done, nil
		}
		select {
		case <-other:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

func (m *marks) leave(key string, done bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.busy[key])
	if delete(m.busy, key); done {
		m.add(key)
	}
}

func (m *marks) add(key string) {
	if _, there := m.done[key]; there {
		return
	}
	if m.done[key] = struct{}{}; len(m.ring) < m.max {
		m.ring = append(m.ring, key)
		return
	}
	delete(m.done, m.ring[m.next])
	m.ring[m.next] = key
	m.next = (m.next + 1) % m.max
}

// keys returns the keys, the oldest first.
func (m *marks) keys() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append(append(make([]string, 0, len(m.ring)), m.ring[m.next:]...), m.ring[:m.next]...)
}
