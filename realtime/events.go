package realtime

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/gapless-go/gapless/internal/rescue"
)

// maxEvents is how many events may wait for Options.Logger and Options.Hooks.
const maxEvents = 1024

// events brings what happens to the logger and the hooks, in order, on a
// goroutine of its own, so that user code can neither hold up the socket nor
// deadlock with it. The goroutine lives while there is something to bring. When
// the queue is full, events are counted and not kept; their number is an event
// in their place.
type events struct {
	log   *slog.Logger
	hooks Hooks

	mu      sync.Mutex
	queue   []event
	missed  int           // behind the queue
	calling bool          // user code runs
	idle    chan struct{} // closed when the goroutine has ended; nil: there is none
}

// event is one thing that happened.
type event struct {
	level slog.Level
	text  string // of the log
	args  []any
	name  string // of the hook
	hook  func() // nil: none
}

// hook adds an event that a hook is told, too.
func hook[T any](e *events, ev event, name string, f func(T), v T) {
	if f != nil {
		ev.name, ev.hook = name, func() { f(v) }
	}
	e.add(ev)
}

// hook2 is hook for a hook that is told a topic, too.
func hook2[T any](e *events, ev event, name string, f func(string, T), topic string, v T) {
	if f != nil {
		ev.name, ev.hook = name, func() { f(topic, v) }
	}
	e.add(ev)
}

func (e *events) add(ev event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) >= maxEvents {
		e.missed++
		return
	}
	e.addMissed()
	e.queue = append(e.queue, ev)
	if e.idle == nil {
		e.idle = make(chan struct{})
		go e.run() // ends when the queue is empty; waited for by Close
	}
}

// addMissed adds the number of events that were missed. It is called under mu.
func (e *events) addMissed() {
	if e.missed == 0 {
		return
	}
	err := fmt.Errorf("realtime: %d events were not logged and not given to hooks, which take too long", e.missed)
	e.missed = 0
	ev := event{level: slog.LevelWarn, text: "events missed", args: []any{"err", err}}
	if f := e.hooks.Dropped; f != nil {
		ev.name, ev.hook = "Hooks.Dropped", func() { f("", err) }
	}
	e.queue = append(e.queue, ev)
}

func (e *events) run() {
	for {
		e.mu.Lock()
		e.calling = false
		if len(e.queue) == 0 {
			e.addMissed()
		}
		if len(e.queue) == 0 {
			e.queue = nil
			close(e.idle)
			e.idle = nil
			e.mu.Unlock()
			return
		}
		ev := e.queue[0]
		e.queue = e.queue[1:]
		e.calling = true
		e.mu.Unlock()
		e.bring(ev)
	}
}

// bring calls the logger and the hook. A panic of the one is given to the other.
func (e *events) bring(ev event) {
	err := rescue.Do("Options.Logger", func() error {
		e.log.Log(context.Background(), ev.level, ev.text, ev.args...)
		return nil
	})
	if err != nil && e.hooks.Dropped != nil {
		_ = rescue.Do("Hooks.Dropped", func() error { e.hooks.Dropped("", err); return nil })
	}
	if ev.hook == nil {
		return
	}
	if err = rescue.Do(ev.name, func() error { ev.hook(); return nil }); err != nil {
		_ = rescue.Do("Options.Logger", func() error { e.log.Error("a hook panicked", "err", err); return nil })
	}
}

// busy reports whether user code runs at the moment.
func (e *events) busy() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calling
}

// drain waits until every event has been brought, or ctx has ended.
func (e *events) drain(ctx context.Context) {
	for {
		e.mu.Lock()
		idle := e.idle
		e.mu.Unlock()
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
