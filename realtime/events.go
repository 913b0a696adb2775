package realtime

import (
	"fmt"
	"log/slog"

	"github.com/gapless-go/gapless/internal/events"
)

// newEvents brings what happens to Options.Logger and Options.Hooks.
func newEvents(log *slog.Logger, hooks Hooks) *events.Queue {
	dropped := func(err error) {
		if hooks.Dropped != nil {
			hooks.Dropped("", err)
		}
	}
	return events.New(log, func(n int) events.Event {
		err := fmt.Errorf("realtime: %d events were not logged and not given to hooks, which take too long", n)
		return events.Event{Level: slog.LevelWarn, Text: "events missed", Args: []any{"err", err}, Name: "Hooks.Dropped", Hook: func() { dropped(err) }}
	}, dropped)
}
