package channel

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/transcript"
)

// Every broadcast and every presence message that a real server sent is read;
// a change that the database broadcast decodes; and the roster that the diffs
// of a recording make is that of the states in it.
func TestRecordedBroadcastsAndPresence(t *testing.T) {
	changes, replayed, states := 0, 0, 0
	for _, name := range transcript.Names() {
		script, err := transcript.Load(name)
		require.NoError(t, err)
		var reader rosterReader
		rosters := map[string]roster{} // by socket and topic
		for _, line := range script.Lines {
			if line.Dir != "recv" || !line.IsFrame() {
				continue
			}
			v := phoenix.V1
			if strings.HasPrefix(script.Version(line.Conn), "2") {
				v = phoenix.V2
			}
			m, err := phoenix.Decode(v, phoenix.FromServer, line.Kind == "binary", line.Bytes())
			if err != nil {
				continue // known to be bad: see the tests of phoenix
			}
			at := line.Conn + m.Topic
			switch m.Event {
			case phoenix.EventBroadcast:
				b, vouched, err := readBroadcast(v, m, m.JoinRef)
				if m.Kind == phoenix.Broadcast { // a push of Phoenix's own kind, whose payload is anything
					require.Error(t, err)
					continue
				}
				require.NoError(t, err, line.Frame)
				if b.Replayed {
					replayed++
					require.True(t, vouched)
					require.Len(t, b.ID, 36)
				}
				if json.Valid(b.Payload) && strings.Contains(string(b.Payload), `"operation"`) {
					_, err = b.Change()
					require.NoError(t, err)
					changes++
				}
			case phoenix.EventPresenceState:
				state, err := reader.state(m.Payload)
				require.NoError(t, err)
				rosters[at] = state
				states++
			case phoenix.EventPresenceDiff:
				d, err := reader.diff(m.Payload)
				require.NoError(t, err)
				if r, ok := rosters[at]; ok {
					r.apply(d)
				}
			}
		}
		if name == "09-presence.vsn2" {
			last := rosters["arealtime:room:p"].byKey()
			require.Len(t, last, 1, "alice is alone in the end")
			require.JSONEq(t, `{"n":2,"status":"away"}`, string(last["alice"][0].Payload))
		}
	}
	require.Positive(t, changes)
	require.Greater(t, replayed, 50)
	require.Greater(t, states, 3)
}

func FuzzBroadcast(f *testing.F) {
	f.Add([]byte(`{"type":"broadcast","event":"e","payload":{"a":1},"meta":{"id":"x","replayed":true}}`), []byte(`{"id":"x"}`), true, true)
	f.Add([]byte(`{"event":1}`), []byte(`{`), false, true)
	f.Fuzz(func(t *testing.T, payload, meta []byte, text, isJSON bool) {
		m := phoenix.Message{Kind: phoenix.UserBroadcast, UserEvent: "e", JSON: isJSON, Payload: payload, Meta: meta}
		if text {
			m = phoenix.Message{Event: phoenix.EventBroadcast, Payload: payload}
		}
		b, vouched, err := readBroadcast(phoenix.V2, m, `"1"`)
		if err == nil && b.Replayed {
			require.True(t, vouched)
		}
		clear(payload) // nothing of it is kept
		_ = b
	})
}
