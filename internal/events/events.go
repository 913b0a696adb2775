// Package events brings what happens to a logger and to hooks.
package events

import (
	"context"
	"log/slog"
	"sync"

	"github.com/gapless-go/gapless/internal/rescue"
)

// limit is how many events may wait.
const limit = 1024

// Event is one thing that happened.
type Event struct {
	Level slog.Level
	Text  string // of the log
	Args  []any
	Name  string // of the hook
	Hook  func() // nil: none
}

// Queue brings events, in order, on a goroutine of its own, so that user code can
// neither hold up who adds them nor deadlock with it. The goroutine lives while
// there is something to bring. When 1,024 wait, further ones are counted and not
// kept; their number is an event in their place. It is safe for concurrent use.
type Queue struct {
	log      *slog.Logger
	missed   func(n int) Event
	panicked func(err error)

	mu      sync.Mutex
	queue   []Event
	lost    int           // behind the queue
	calling bool          // user code runs
	idle    chan struct{} // closed when the goroutine has ended; nil: there is none
}

// New makes a Queue. log may be nil. missed makes the event of so many that were
// not kept, and panicked, which may be nil, is called when the logger panics.
func New(log *slog.Logger, missed func(n int) Event, panicked func(err error)) *Queue {
	return &Queue{log: log, missed: missed, panicked: panicked}
}

// Tell adds an event that a hook is told, too, unless that is nil.
func Tell[T any](q *Queue, ev Event, name string, hook func(T), v T) {
	if hook != nil {
		ev.Name, ev.Hook = name, func() { hook(v) }
	}
	q.Add(ev)
}

// TellOf is Tell for a hook that is told of what it is, too: a topic, or a table.
func TellOf[T any](q *Queue, ev Event, name string, hook func(string, T), of string, v T) {
	if hook != nil {
		ev.Name, ev.Hook = name, func() { hook(of, v) }
	}
	q.Add(ev)
}

// Add adds an event. It does not block.
func (q *Queue) Add(ev Event) {
	if q.log == nil && ev.Hook == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) >= limit {
		q.lost++
		return
	}
	q.addLost()
	q.queue = append(q.queue, ev)
	if q.idle == nil {
		q.idle = make(chan struct{})
		go q.run() // ends when the queue is empty; waited for by Drain
	}
}

// addLost adds the number of events that were not kept. It is called under mu.
func (q *Queue) addLost() {
	if q.lost > 0 {
		q.queue = append(q.queue, q.missed(q.lost))
		q.lost = 0
	}
}

func (q *Queue) run() {
	for {
		q.mu.Lock()
		q.calling = false
		if len(q.queue) == 0 {
			q.addLost()
		}
		if len(q.queue) == 0 {
			q.queue = nil
			close(q.idle)
			q.idle = nil
			q.mu.Unlock()
			return
		}
		ev := q.queue[0]
		q.queue = q.queue[1:]
		q.calling = true
		q.mu.Unlock()
		q.bring(ev)
	}
}

// bring calls the logger and the hook. A panic of the one is given to the other.
func (q *Queue) bring(ev Event) {
	err := q.write(ev.Level, ev.Text, ev.Args...)
	if err != nil && q.panicked != nil {
		_ = rescue.Do("a hook", func() error { q.panicked(err); return nil })
	}
	if ev.Hook == nil {
		return
	}
	if err = rescue.Do(ev.Name, func() error { ev.Hook(); return nil }); err != nil {
		_ = q.write(slog.LevelError, "a hook panicked", "err", err)
	}
}

func (q *Queue) write(level slog.Level, text string, args ...any) error {
	if q.log == nil {
		return nil
	}
	return rescue.Do("the logger", func() error {
		q.log.Log(context.Background(), level, text, args...)
		return nil
	})
}

// Busy reports whether user code runs at the moment.
func (q *Queue) Busy() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.calling
}

// Drain waits until every event has been brought, or ctx has ended.
func (q *Queue) Drain(ctx context.Context) {
	for {
		q.mu.Lock()
		idle := q.idle
		q.mu.Unlock()
		if idle == nil {
			return
		}
		select {
		case <-idle:
		case <-ctx.Done():
			return
		}
	}
}
