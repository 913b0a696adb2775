package channel_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/rescue"
)

// A panic anywhere below a call of the link costs the join, and nothing else:
// the gap is there, the reason in Status, and the channel comes back.
func TestPanic_CostsTheJoin(t *testing.T) {
	for name, inject := range map[string]func(s *subject, join phoenix.Message){
		"reader": func(s *subject, join phoenix.Message) {
			s.panics = "ServerTime"
			s.end(join, phoenix.EventError)
		},
		"system": func(s *subject, join phoenix.Message) { // in the middle of opening a gap
			s.panics = "Observe"
			s.system(join, "postgres_changes", "error", "{:error, :x}")
		},
		"token": func(s *subject, _ phoenix.Message) {
			s.panics = "NextRef"
			s.handler.Token("another")
		},
		"timer": func(s *subject, join phoenix.Message) {
			s.panics = "RequestJoin"
			s.end(join, phoenix.EventError)
			pause(2 * time.Second)
		},
		"down": func(s *subject, _ phoenix.Message) {
			s.panics = "ServerTime"
			s.handler.Down(time.Now(), nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := start(t)
				s.another = true
				join := s.live("t")
				s.requireGap(cdc.Started, false)
				require.NotPanics(t, func() { inject(s, join) })
				require.Empty(t, s.panics, "nothing panicked")
				open := <-s.values
				require.True(t, open.Gap.Open())
				if reason := s.ch.Status().Reason; name != "timer" {
					var p *rescue.Error
					require.ErrorAs(t, reason, &p)
				}
				pause(2 * time.Minute)
				s.requireState(channel.Joining)
				s.live("t")
				require.False(t, (<-s.values).Gap.Open())
			})
		})
	}
	bubble(t, func(t *testing.T) { // the join itself
		s := start(t)
		s.panics = "NextRef"
		_, ok := s.handler.Join("t")
		require.False(t, ok)
		pause(2 * time.Minute)
		s.live("t")
		s.requireGap(cdc.Started, false)
	})
	bubble(t, func(t *testing.T) { // a panic while the channel recovers from one
		s := start(t)
		join := s.live("t")
		s.requireGap(cdc.Started, false)
		s.always = true
		s.panics = "ServerTime"
		s.end(join, phoenix.EventError)
		var p *rescue.Error
		require.ErrorAs(t, s.ch.Status().Reason, &p)
		s.requireState(channel.Closed)
		for range s.values { // the stream has ended
			if len(s.values) == 0 {
				break
			}
		}
		require.ErrorAs(t, <-s.ended, &p)
	})
}
