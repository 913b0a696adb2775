package deliver

import (
	"context"
	"fmt"
	"slices"
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
	// Once runs an effect, unless it was done before under the key or the key was
	// buried, and remembers the key if it succeeds. An effect that fails, or whose
	// error is returned, is not remembered. Two calls with one key at once run one
	// after the other. An empty key is never remembered.
	//
	// The key may be any string. An error that is the value's own (of its key, or of
	// what its effect has done to the transaction) is no *StoreError.
	Once(ctx context.Context, key string, effect func(ctx context.Context, tx Tx) error) (before bool, err error)
	// Position returns the last position that was saved; empty if none was.
	Position(ctx context.Context) (string, error)
	SavePosition(ctx context.Context, position string) error
	// Bury keeps a letter, whatever the bytes of its texts; a later one of the same
	// key takes its place. The key counts as done from now on.
	Bury(ctx context.Context, letter Letter) error
}

// None is the Tx of stores without transactions.
type None struct{}

// Letter is a value that was given up: a dead letter.
type Letter struct {
	Key      string    `json:"key"`
	Position string    `json:"position,omitempty"`
	Reason   string    `json:"reason"` // the last error, in one line
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
	m.marks.bury(letter.Key)
	if len(m.order) > m.max {
		m.remove(m.order[0])
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

// Retry removes a letter and returns it; false if there is none. Its key counts as
// new: its value is handled when it is delivered again.
// The letter is in no store then: a process that ends before it has handled the
// letter, or kept it elsewhere, loses it.
func (m *Memory) Retry(_ context.Context, key string) (Letter, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, there := m.letters[key]
	m.remove(key)
	return l, there, nil
}

func (m *Memory) remove(key string) {
	delete(m.letters, key)
	m.order = slices.DeleteFunc(m.order, func(k string) bool { return k == key })
	m.marks.release(key)
}
