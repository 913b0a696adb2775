package cache

import (
	"context"
	"log/slog"
	"sync"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/rescue"
)

// Hooks are functions that are called as things happen to a Table, for metrics and
// alarms; table is its String. Any may be nil, and one Hooks may be given to many
// Tables. A goroutine of each Run calls them and the logger, in order: they may call
// every method of the Table and hold up nothing but the end of Run, which waits for
// what has happened to be told. 1,024 events may wait; Dropped gets the number of
// what is beyond that. A panic of a hook is logged.
type Hooks struct {
	// Phase: the Table has come from one phase to another.
	Phase func(table string, from, to Phase)
	// Gap: changes may be missing. A gap that is Open is given again when it ends. It
	// is every loss that the Table knows of: those of its channel, and those that
	// marks, a suspended process and another shape of the table show.
	Gap func(table string, gap cdc.Gap)
	// Repair: as many rows were read and found to be other than they were in the
	// cache. A feed has them, with CauseRepair.
	Repair func(table string, rows int)
	// Doubt: as many rows are in doubt now; told when the first is, and when none
	// is any more.
	Doubt func(table string, rows int)
	// SetAside: a row does not fit into T, see WithMisfits.
	SetAside func(table string, err *RowError)
	// Trouble: requests fail, and are made again; nil: they work again.
	Trouble func(table string, err error)
	// Dropped: as many events were not told, as hooks or the logger take too long.
	Dropped func(table string, events int)
}

// WithHooks has functions called as things happen to the Table.
func WithHooks(h Hooks) Option {
	return func(o *options) error { o.hooks, o.told = h, true; return nil }
}

// WithLogger has a record written of all that Hooks are told. Default: none.
func WithLogger(l *slog.Logger) Option {
	return func(o *options) error { o.log, o.told = l, true; return nil }
}

// maxEvents is how many events may wait for the hooks and the logger.
const maxEvents = 1024

// events brings what happens to the hooks and the logger.
type events struct {
	table string
	hooks Hooks
	log   *slog.Logger // nil: none
	any   bool         // somebody wants to know

	mu     sync.Mutex
	queue  chan func() // nil while there is no Run
	missed int
}

// start starts the goroutine, which ends when stop is called and everything has been
// told. stop waits for it.
func (e *events) start() (stop func()) {
	if !e.any {
		return func() {}
	}
	queue, done := make(chan func(), maxEvents), make(chan struct{})
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queue = queue
	go func() {
		defer close(done)
		for f := range queue {
			f()
		}
	}()
	return func() {
		e.mu.Lock()
		e.queue = nil
		e.mu.Unlock()
		close(queue)
		<-done
	}
}

// tell has a hook and the logger told.
func tell[A any](e *events, name string, hook func(table string, a A), a A, level slog.Level, text string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.queue == nil || hook == nil && e.log == nil {
		return
	}
	missed := e.missed
	select {
	case e.queue <- func() {
		if missed > 0 {
			e.write(slog.LevelWarn, "events missed", "events", missed)
			call(e, "Dropped", e.hooks.Dropped, missed)
		}
		e.write(level, text, args...)
		call(e, name, hook, a)
	}:
		e.missed = 0
	default:
		e.missed++
	}
}

func call[A any](e *events, name string, hook func(table string, a A), a A) {
	if hook == nil {
		return
	}
	if err := rescue.Do("Hooks."+name, func() error { hook(e.table, a); return nil }); err != nil {
		e.write(slog.LevelError, "a hook panicked", "err", err)
	}
}

func (e *events) write(level slog.Level, text string, args ...any) {
	if e.log != nil {
		_ = rescue.Do("the logger", func() error {
			e.log.Log(context.Background(), level, text, append([]any{"table", e.table}, args...)...)
			return nil
		})
	}
}

func (t *Table[K, T]) tellPhase(from, to Phase) {
	hook := t.events.hooks.Phase
	var f func(string, Phase)
	if hook != nil {
		f = func(table string, to Phase) { hook(table, from, to) }
	}
	tell(&t.events, "Phase", f, to, slog.LevelInfo, "phase", "from", from.String(), "to", to.String())
}

func (t *Table[K, T]) tellGap(g cdc.Gap) {
	text := "gap closed"
	if g.Open() {
		text = "gap opened"
	}
	tell(&t.events, "Gap", t.events.hooks.Gap, g, slog.LevelWarn, text, "gap", g.String())
}

func (t *Table[K, T]) tellTrouble(err error) {
	level, text := slog.LevelWarn, "requests fail, and are made again"
	if err == nil {
		level, text = slog.LevelInfo, "requests work again"
	}
	tell(&t.events, "Trouble", t.events.hooks.Trouble, err, level, text, "err", err)
}

// tellRows tells of rows in doubt, repaired and set aside since the status was
// written.
func (t *Table[K, T]) tellRows(doubtful int, repaired uint64, net []Change[K, T]) {
	if !t.events.any {
		return
	}
	hooks := &t.events.hooks
	if now := t.core.doubts(); (now > 0) != (doubtful > 0) {
		tell(&t.events, "Doubt", hooks.Doubt, now, slog.LevelDebug, "rows in doubt", "rows", now)
	}
	if n := int(t.core.counts.repaired - repaired); n > 0 {
		tell(&t.events, "Repair", hooks.Repair, n, slog.LevelWarn, "rows repaired", "rows", n)
	}
	for i := range net {
		if err, aside := net[i].Err.(*RowError); aside && net[i].Op != cdc.Delete {
			tell(&t.events, "SetAside", hooks.SetAside, err, slog.LevelWarn, "a row is set aside", "err", err)
		}
	}
}
