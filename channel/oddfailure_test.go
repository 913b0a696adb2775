package channel_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/phoenix"
)

// A system message about changes that does not say ok is never passed over,
// whatever the types of its fields: the channel is not live behind it, and comes
// back.
func TestAnOddFailureIsAFailure(t *testing.T) {
	system := func(payload string) func(*subject, phoenix.Message) {
		return func(s *subject, join phoenix.Message) {
			s.receive(phoenix.Message{JoinRef: join.JoinRef, Topic: join.Topic, Event: phoenix.EventSystem, Payload: []byte(payload)})
		}
	}
	for name, c := range map[string]struct {
		send func(*subject, phoenix.Message)
	}{
		"message that is an object": {system(`{"extension":"postgres_changes","status":"error","message":{"reason":"x"}}`)},
		"status that is a number":   {system(`{"extension":"postgres_changes","status":500,"message":"x"}`)},
		"status that is missing":    {system(`{"extension":"postgres_changes"}`)},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := start(t)
				join := s.live("t")
				s.requireGap(cdc.Started, false)
				c.send(s, join)
				synctest.Wait()
				s.requireState(channel.Degraded)
				require.Error(t, s.ch.Status().Reason)
				s.requireGap(cdc.SubscriptionFailed, true)
				pause(time.Minute) // its turn to join comes
				s.live("t")
				s.requireGap(cdc.SubscriptionFailed, false)
				s.requireState(channel.Live)
			})
		})
	}
	bubble(t, func(t *testing.T) { // what is about something else is no end
		s := start(t)
		join := s.live("t")
		s.requireGap(cdc.Started, false)
		system(`{"extension":5,"status":"error","message":{}}`)(s, join)
		system(`{"extension":"system","status":"ok","message":{"x":1}}`)(s, join)
		s.end(phoenix.Message{JoinRef: `"999"`, Topic: join.Topic}, phoenix.EventClose)
		s.requireState(channel.Live)
		s.requireNothing()
	})
}
