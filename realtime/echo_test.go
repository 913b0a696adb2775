package realtime_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/realtime"
)

// Whatever a server or a transport repeats of what it was sent, no error and no
// log has a key, a token or the value of a header.
func TestErrors_RepeatNoSecretThatIsEchoed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		user := token(1, time.Now().Add(time.Hour))
		const key = "sb_publishable_k3VhdGVkLWZvci1hLXRlc3Q_x"
		secrets := []string{key, user, "gateway-secret-1"}
		var all error
		var log bytes.Buffer
		check := func(err error) {
			t.Helper()
			require.Error(t, err)
			all = errors.Join(all, err)
		}
		echo, words := fmt.Sprint("no: ", secrets), fmt.Sprint("no: ", secrets[:2]) // the socket is sent no header
		broken := false
		o := s.options()
		o.Key = key
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		o.Token = func(context.Context) (string, time.Time, error) { return user, time.Time{}, nil }
		o.Header = http.Header{"X-Gateway": {"gateway-secret-1"}}
		o.HTTPClient = &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			if broken {
				return nil, errors.New(echo)
			}
			return s.client.Transport.RoundTrip(r)
		})}
		s.refusing(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("Upgrade") != "" && len(s.dials) > 1 {
				return false
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(422)
			fmt.Fprintf(w, `{"message":%q,"errors":{"messages":[{"payload":[%q]}]}}`, echo, echo)
			return true
		})
		c := open(t, o)
		ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
		defer cancel()
		room, err := c.Channel("room", channel.AckBroadcasts(time.Minute))
		require.NoError(t, err)
		_, err = room.Subscribe(orders)
		require.NoError(t, err)
		go func() { _ = room.WaitLive(context.Background()) }()
		time.Sleep(time.Nanosecond)
		check(room.WaitLive(ctx))
		conn := s.accept()
		conn.refuseJoin(conn.expect(phoenix.EventJoin), "UnableToSetPolicies: "+words)
		time.Sleep(100 * time.Millisecond)
		check(room.Status().Reason)
		join := conn.expect(phoenix.EventJoin)
		conn.acceptJoin(join)
		conn.system(join, "postgres_changes", "error", words)
		time.Sleep(time.Second)
		check(room.Status().Reason)
		sent := make(chan error)
		go func() { sent <- room.Send(t.Context(), "e", 1) }()
		conn.reply(conn.expect(phoenix.EventBroadcast), "error", map[string]any{"reason": words})
		check(<-sent)
		conn.system(join, "system", "error", words)
		conn.closeChannel(join)
		time.Sleep(time.Millisecond)
		check(room.Status().Reason)
		check(c.Broadcast(t.Context(), realtime.BroadcastMessage{Topic: "t", Event: "e", Payload: map[string]int{}}))
		broken = true
		check(c.Broadcast(t.Context(), realtime.BroadcastMessage{Topic: "t", Event: "e", Payload: map[string]int{}}))
		closeClient(t, c)
		for _, secret := range secrets {
			require.NotContains(t, all.Error(), secret)
			require.NotContains(t, log.String(), secret)
		}
	})
}
