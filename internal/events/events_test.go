package events_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/events"
)

// Events come in order; those for which there was no room are counted, also if
// nothing comes behind them.
func TestQueue_CountsWhatItDoesNotKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []int
		var missed int
		q := events.New(nil, func(n int) events.Event { return events.Event{Name: "missed", Hook: func() { missed += n }} }, nil)
		hold := make(chan struct{})
		q.Add(events.Event{Hook: func() { <-hold }})
		synctest.Wait()
		require.True(t, q.Busy())
		for i := range 1100 {
			events.Tell(q, events.Event{}, "n", func(n int) { got = append(got, n) }, i)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		q.Drain(ctx)
		require.Error(t, ctx.Err(), "the hook holds it up")
		close(hold)
		q.Drain(t.Context())
		require.Len(t, got, 1024)
		require.IsIncreasing(t, got)
		require.Equal(t, 1100-1024, missed)
		require.False(t, q.Busy())
	})
}

type broken struct{ slog.Handler }

func (broken) Handle(context.Context, slog.Record) error { panic("handler") }

// A panic of a hook is logged, and one of the logger told.
func TestQueue_Panics(t *testing.T) {
	var log bytes.Buffer
	q := events.New(slog.New(slog.NewTextHandler(&log, nil)), nil, nil)
	events.TellOf(q, events.Event{Text: "one"}, "Hooks.Gap", func(string, int) { panic("boom") }, "topic", 1)
	events.TellOf(q, events.Event{Text: "two"}, "Hooks.Gap", nil, "topic", 1)
	q.Drain(t.Context())
	require.Contains(t, log.String(), "boom")
	require.Less(t, strings.Index(log.String(), "one"), strings.Index(log.String(), "two"))

	var told []string
	q = events.New(slog.New(broken{slog.NewTextHandler(&log, nil)}), nil, func(err error) { told = append(told, fmt.Sprint(err)); panic("again") })
	q.Add(events.Event{Text: "three", Name: "Hooks.Live", Hook: func() { told = append(told, "live") }})
	q.Drain(t.Context())
	require.Len(t, told, 2)
	require.Contains(t, told[0], "handler")
	require.Equal(t, "live", told[1])
}
