package cache

import (
	"log/slog"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/events"
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

// newEvents brings what happens to a Table to the hooks and the logger.
func newEvents(table string, o options) *events.Queue {
	return events.New(o.log, func(n int) events.Event {
		ev := events.Event{Level: slog.LevelWarn, Text: "events missed", Args: []any{"table", table, "events", n}}
		if hook := o.hooks.Dropped; hook != nil {
			ev.Name, ev.Hook = "Hooks.Dropped", func() { hook(table, n) }
		}
		return ev
	}, nil)
}

// tell has a hook and the logger told.
func tell[K comparable, T, A any](t *Table[K, T], name string, hook func(table string, a A), a A, level slog.Level, text string, args ...any) {
	if t.opts.told {
		table := t.String()
		events.TellOf(t.events, events.Event{Level: level, Text: text, Args: append([]any{"table", table}, args...)}, "Hooks."+name, hook, table, a)
	}
}

func (t *Table[K, T]) tellPhase(from, to Phase) {
	hook := t.opts.hooks.Phase
	var f func(string, Phase)
	if hook != nil {
		f = func(table string, to Phase) { hook(table, from, to) }
	}
	tell(t, "Phase", f, to, slog.LevelInfo, "phase", "from", from.String(), "to", to.String())
}

func (t *Table[K, T]) tellGap(g cdc.Gap) {
	text := "gap closed"
	if g.Open() {
		text = "gap opened"
	}
	tell(t, "Gap", t.opts.hooks.Gap, g, slog.LevelWarn, text, "gap", g.String())
}

func (t *Table[K, T]) tellTrouble(err error) {
	level, text := slog.LevelWarn, "requests fail, and are made again"
	if err == nil {
		level, text = slog.LevelInfo, "requests work again"
	}
	tell(t, "Trouble", t.opts.hooks.Trouble, err, level, text, "err", err)
}

// tellRows tells of rows in doubt, repaired and set aside since the status was
// written.
func (t *Table[K, T]) tellRows(doubtful int, repaired uint64, net []Change[K, T]) {
	if !t.opts.told {
		return
	}
	hooks := &t.opts.hooks
	if now := t.core.doubts(); (now > 0) != (doubtful > 0) {
		tell(t, "Doubt", hooks.Doubt, now, slog.LevelDebug, "rows in doubt", "rows", now)
	}
	if n := int(t.core.counts.repaired - repaired); n > 0 {
		tell(t, "Repair", hooks.Repair, n, slog.LevelWarn, "rows repaired", "rows", n)
	}
	for i := range net {
		if err, aside := net[i].Err.(*RowError); aside && net[i].Op != cdc.Delete {
			tell(t, "SetAside", hooks.SetAside, err, slog.LevelWarn, "a row is set aside", "err", err)
		}
	}
}
