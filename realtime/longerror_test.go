package realtime_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
)

// An error says what was wrong with what a server sent, and does not repeat it
// at length.
func TestErrors_OfWhatCannotBeReadAreShort(t *testing.T) {
	digits := strings.Repeat("1", 1<<16)
	long := strings.Repeat("x", 1<<16)
	for _, vsn := range []string{"1.0.0", "2.0.0"} {
		for _, payload := range []string{digits, `"` + long + `"`, `{"` + long + `":1`} {
			for _, in := range []string{
				`%s`, `[null,null,"realtime:room",%s,{}]`, `[%s,null,"realtime:room","broadcast",{}]`, `{"topic":"realtime:room","event":%s,"payload":{},"ref":null}`,
				`{"topic":%s,"event":"x","payload":{},"ref":null}`,
			} {
				checkShort(t, vsn, "", fmt.Sprintf(in, payload))
			}
		}
		for _, value := range []string{digits, `"` + long + `"`} {
			for event, payloads := range map[string][]string{
				"postgres_changes": {
					`%s`, `{"ids":%s}`, `{"ids":[%s]}`, `{"ids":[100],"data":%s}`, `{"ids":[100],"data":{"schema":%s}}`, `{"ids":[100],"data":{"schema":"public","table":%s}}`,
					`{"ids":[100],"data":{"schema":"public","table":"orders","type":%s}}`,
					`{"ids":[100],"data":{"schema":"public","table":"orders","type":"INSERT","commit_timestamp":%s}}`,
					`{"ids":[100],"data":{"schema":"public","table":"orders","type":"INSERT","columns":%s}}`,
					`{"ids":[100],"data":{"schema":"public","table":"orders","type":"INSERT","columns":[%s]}}`,
					`{"ids":[100],"data":{"schema":"public","table":"orders","type":"INSERT","columns":[{"name":%s}]}}`,
					`{"ids":[100],"data":{"schema":"public","table":"orders","type":"INSERT","record":%s}}`,
					`{"ids":[100],"data":{"schema":"public","table":"orders","type":"INSERT","errors":%s}}`,
					`{"ids":[100],"data":{"schema":"public","table":"orders","type":"INSERT","errors":[%s]}}`,
				},
				"broadcast":      {`%s`, `{"event":%s}`, `{"event":"e","meta":%s}`},
				"presence_state": {`%s`, `{"k":%s}`, `{"k":{"metas":%s}}`, `{"k":{"metas":[%s]}}`, `{"k":{"metas":[{"phx_ref":%s}]}}`},
				"presence_diff":  {`%s`, `{"joins":%s}`, `{"joins":{"k":{"metas":[%s]}}}`, `{"leaves":%s}`},
				"system":         {`%s`, `{"extension":%s}`, `{"extension":"postgres_changes","status":"error","message":%s}`, `{"extension":"postgres_changes","status":%s}`},
				"join": {`%s`, `{"status":%s}`, `{"status":"ok","response":%s}`, `{"status":"error","response":%s}`, `{"status":"error","response":{"reason":%s}}`,
					`{"status":"ok","response":{"postgres_changes":%s}}`, `{"status":"ok","response":{"postgres_changes":[{"id":%s}]}}`,
					`{"status":"ok","response":{"postgres_changes":[{"id":1,"event":%s}]}}`},
			} {
				for _, p := range payloads {
					checkShort(t, vsn, event, fmt.Sprintf(p, value))
				}
			}
		}
	}
}

func checkShort(t *testing.T, vsn, event, text string) {
	t.Helper()
	shown := event + " " + text[:min(len(text), 120)]
	bubble(t, func(t *testing.T) {
		var log bytes.Buffer
		s := newScript(t)
		o := s.options()
		o.ProtocolVersion, o.Logger = vsn, slog.New(slog.NewTextHandler(&log, nil))
		c := open(t, o)
		room, err := c.Channel("room")
		require.NoError(t, err)
		sub, err := room.Subscribe(orders)
		require.NoError(t, err)
		_, err = room.Listen()
		require.NoError(t, err)
		_, err = room.Presence()
		require.NoError(t, err)
		longest := 0
		see := func(err error) {
			if err != nil {
				longest = max(longest, len(err.Error()))
			}
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for change, err := range sub.Changes(t.Context()) {
				see(err)
				if change.Gap != nil {
					see(change.Gap.Err)
				}
			}
		}()
		conn := s.accept()
		join := conn.expect(phoenix.EventJoin)
		if event == "join" {
			conn.send(phoenix.Message{JoinRef: join.JoinRef, Ref: join.Ref, Topic: join.Topic, Event: phoenix.EventReply, Payload: []byte(text)})
			time.Sleep(time.Millisecond)
		} else {
			conn.acceptJoin(join)
			conn.subscribed(join)
			require.NoError(t, room.WaitLive(t.Context()))
			if event == "" {
				conn.sendRaw(false, []byte(text))
			} else {
				conn.send(phoenix.Message{JoinRef: join.JoinRef, Topic: join.Topic, Event: event, Payload: []byte(text)})
			}
			time.Sleep(time.Millisecond)
		}
		reason := room.Status().Reason
		closeClient(t, c)
		<-done
		see(reason)
		if longest > 5000 || log.Len() > 12_000 {
			t.Errorf("%s %s: an error of %d bytes, a log of %d", vsn, shown, longest, log.Len())
		}
	})
}
