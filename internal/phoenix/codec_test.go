package phoenix_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"runtime/metrics"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/transcript"
)

// Every frame that the real server sent decodes, and encodes back to the same
// message; so does every frame that the recording clients sent on purpose.
func TestRecordedFramesRoundTrip(t *testing.T) {
	for _, name := range transcript.Names() {
		t.Run(name, func(t *testing.T) {
			script, err := transcript.Load(name)
			require.NoError(t, err)
			for i, line := range script.Lines {
				if !line.IsFrame() {
					continue
				}
				v := phoenix.V1
				if strings.HasPrefix(script.Version(line.Conn), "2") {
					v = phoenix.V2
				}
				from := phoenix.FromServer
				if line.Dir == "send" {
					from = phoenix.FromClient
				}
				m, err := phoenix.Decode(v, from, line.Kind == "binary", line.Bytes())
				if err != nil {
					requireKnownBad(t, line, err)
					continue
				}
				again, binary, err := phoenix.Append(nil, v, from, m)
				require.NoError(t, err, "line %d", i+2)
				require.Equal(t, line.Kind == "binary", binary, "line %d", i+2)
				if binary {
					require.Equal(t, line.Bytes(), again, "line %d", i+2)
				} else {
					requireSameFields(t, line, again)
				}
			}
		})
	}
}

// requireKnownBad accepts the frames that the recordings hold because they are
// bad: those that the clients of scenario 11 sent to see them ignored, the two
// of scenario 08 that the server sends although they are not JSON, and the
// replies to a client whose topic was a number.
func requireKnownBad(t *testing.T, line transcript.Line, err error) {
	t.Helper()
	if line.Dir == "send" {
		return
	}
	var bad *phoenix.MalformedError
	require.ErrorAs(t, err, &bad)
	require.Contains(t, []string{phoenix.EventBroadcast, phoenix.EventReply}, bad.Event, "known to be no change: %s", line.Frame)
}

func requireSameFields(t *testing.T, line transcript.Line, again []byte) {
	t.Helper()
	if strings.HasPrefix(line.Frame, "[") {
		require.JSONEq(t, line.Frame, string(again))
		return
	}
	var want, got map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(line.Bytes(), &want))
	require.NoError(t, json.Unmarshal(again, &got))
	if line.Dir == "send" {
		if _, ok := want["join_ref"]; !ok {
			want["join_ref"] = json.RawMessage("null")
		}
		for k := range want { // a recording client may send more than the protocol has
			if _, ok := got[k]; !ok {
				delete(want, k)
			}
		}
	}
	require.Equal(t, len(want), len(got), "%s", again)
	for k := range want {
		require.JSONEq(t, string(want[k]), string(got[k]), "key %s", k)
	}
}

// C3: V1 objects have exactly topic, event, payload and ref, V2 arrays five elements.
func TestC3ServerFrames(t *testing.T) {
	m := phoenix.Message{JoinRef: phoenix.NewRef(3), Ref: phoenix.NewRef(7), Topic: "realtime:a", Event: "phx_reply",
		Payload: []byte(`{"status":"ok","response":{}}`)}
	v1, binary, err := phoenix.Append(nil, phoenix.V1, phoenix.FromServer, m)
	require.NoError(t, err)
	require.False(t, binary)
	require.Equal(t, `{"topic":"realtime:a","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"7"}`, string(v1))
	v2, _, err := phoenix.Append(nil, phoenix.V2, phoenix.FromServer, m)
	require.NoError(t, err)
	require.Equal(t, `["3","7","realtime:a","phx_reply",{"status":"ok","response":{}}]`, string(v2))
}

// C18: in serializer 1.0.0 the client sends join_ref too.
func TestC18V1ClientSendsJoinRef(t *testing.T) {
	m := phoenix.Message{JoinRef: phoenix.NewRef(3), Ref: phoenix.NewRef(3), Topic: "realtime:a", Event: "phx_join"}
	frame, _, err := phoenix.Append(nil, phoenix.V1, phoenix.FromClient, m)
	require.NoError(t, err)
	require.Equal(t, `{"topic":"realtime:a","event":"phx_join","payload":{},"ref":"3","join_ref":"3"}`, string(frame))
}

// C4: kind 4 decodes; C5: lengths count UTF-8 bytes. Both examples are of section 1.5.
func TestC4C5BinaryFrames(t *testing.T) {
	push, err := hex.DecodeString("0302010e030001" + hex.EncodeToString([]byte(`101realtime:room1msg{"a":1}`)))
	require.NoError(t, err)
	m := phoenix.Message{Kind: phoenix.UserPush, JoinRef: `"10"`, Ref: `"1"`, Topic: "realtime:room1",
		Event: phoenix.EventBroadcast, UserEvent: "msg", JSON: true, Payload: []byte(`{"a":1}`)}
	frame, binary, err := phoenix.Append(nil, phoenix.V2, phoenix.FromClient, m)
	require.NoError(t, err)
	require.True(t, binary)
	require.Equal(t, push, frame)

	meta := `{"id":"006554ce-d22d-469c-877a-88bef47214a3"}`
	live := append([]byte("\x04\x0e\x03\x2d\x01realtime:room1msg"+meta), `{"a":1,"id":"006554ce"}`...)
	got, err := phoenix.Decode(phoenix.V2, phoenix.FromServer, true, live)
	require.NoError(t, err)
	require.Equal(t, phoenix.Message{Kind: phoenix.UserBroadcast, Topic: "realtime:room1", Event: phoenix.EventBroadcast,
		UserEvent: "msg", Meta: []byte(meta), JSON: true, Payload: []byte(`{"a":1,"id":"006554ce"}`)}, got)

	m.UserEvent = strings.Repeat("é", 100) // 200 bytes
	frame, _, err = phoenix.Append(nil, phoenix.V2, phoenix.FromClient, m)
	require.NoError(t, err)
	require.Equal(t, byte(200), frame[4])

	m.UserEvent = strings.Repeat("é", 128) // 256 bytes
	_, _, err = phoenix.Append(nil, phoenix.V2, phoenix.FromClient, m)
	var tooLong *phoenix.FieldTooLongError
	require.ErrorAs(t, err, &tooLong)
	require.Equal(t, "user event", tooLong.Field)
}

func TestC4UnknownKindIsItsOwnError(t *testing.T) {
	_, err := phoenix.Decode(phoenix.V2, phoenix.FromServer, true, []byte{9, 9, 9})
	require.ErrorIs(t, err, phoenix.ErrUnknownKind)
}

func TestMalformedFramesTellWhatTheyWere(t *testing.T) {
	for _, c := range []struct {
		name         string
		v            phoenix.Version
		binary       bool
		frame        string
		topic, event string
	}{
		{"empty", phoenix.V2, false, ``, "", ""},
		{"null", phoenix.V2, false, `null`, "", ""},
		{"four elements", phoenix.V2, false, `[null,"1","phoenix","heartbeat"]`, "phoenix", "heartbeat"},
		{"object in V2", phoenix.V2, false, `{"topic":"t","event":"e","payload":{},"ref":null}`, "t", "e"},
		{"cut in the payload", phoenix.V2, false, `[null,null,"realtime:a","broadcast",{"x":`, "realtime:a", "broadcast"},
		{"cut in the event", phoenix.V2, false, `[null,null,"realtime:a","broadc`, "realtime:a", ""},
		{"array in V1", phoenix.V1, false, `[null,"1","t","e",{}]`, "t", "e"},
		{"no ref in V1", phoenix.V1, false, `{"topic":"t","event":"e","payload":{}}`, "t", "e"},
		{"payload is no JSON", phoenix.V1, false, `{"event":"broadcast","topic":"realtime:a","payload":%{error: 1},"ref":null}`, "realtime:a", "broadcast"},
		{"topic is a number", phoenix.V2, false, `[null,null,5,"e",{}]`, "", "e"},
		{"ref is an object", phoenix.V2, false, `[null,{},"t","e",{}]`, "t", "e"},
		{"binary in V1", phoenix.V1, true, "\x04\x01\x01\x00\x01", "", ""},
		{"no header", phoenix.V2, true, "\x04\x01", "", "broadcast"},
		{"cut in a field", phoenix.V2, true, "\x04\x01\x05\x00\x01tab", "t", "broadcast"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := phoenix.Decode(c.v, phoenix.FromServer, c.binary, []byte(c.frame))
			var bad *phoenix.MalformedError
			require.ErrorAs(t, err, &bad)
			require.Equal(t, c.topic, bad.Topic)
			require.Equal(t, c.event, bad.Event)
		})
	}
}

// A client may use numbers as refs; they come back as numbers (scenario 11).
func TestNumericRefIsEchoed(t *testing.T) {
	m, err := phoenix.Decode(phoenix.V2, phoenix.FromClient, false, []byte(`[null,7,"phoenix","heartbeat",{}]`))
	require.NoError(t, err)
	require.Equal(t, phoenix.Ref("7"), m.Ref)
	frame, _, err := phoenix.Append(nil, phoenix.V2, phoenix.FromServer, m)
	require.NoError(t, err)
	require.Equal(t, `[null,7,"phoenix","heartbeat",{}]`, string(frame))
}

func TestAppend_RefusesTextOfAClientThatIsNoUTF8(t *testing.T) {
	for _, m := range []phoenix.Message{
		{Topic: "realtime:\xff", Event: "e"},
		{Topic: "t", Event: "\xff"},
		{Topic: "t", Event: "e", Payload: []byte("{\"a\":\"\xff\"}")},
		{Kind: phoenix.UserPush, Topic: "t", UserEvent: "\xff"},
		{Kind: phoenix.UserPush, Topic: "t", UserEvent: "e", JSON: true, Payload: []byte("\"\xff\"")},
	} {
		_, _, err := phoenix.Append(nil, phoenix.V2, phoenix.FromClient, m)
		require.ErrorIs(t, err, phoenix.ErrNotUTF8)
	}
	_, _, err := phoenix.Append(nil, phoenix.V2, phoenix.FromClient, phoenix.Message{Kind: phoenix.UserPush, Topic: "t", UserEvent: "e", Payload: []byte{0xff}})
	require.NoError(t, err, "bytes are bytes")
}

func allocatedBytes() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// requireAsReference: a text frame is taken if encoding/json takes it, and means the
// same, but for changes, whose payload has not been read.
func requireAsReference(t *testing.T, v phoenix.Version, from phoenix.Side, frame []byte, m phoenix.Message, err error) {
	want, wantErr := reference(v, frame)
	if m.Event == phoenix.EventPostgresChanges && from == phoenix.FromServer && (wantErr != nil || !bytes.Equal(want.Payload, m.Payload)) {
		require.False(t, json.Valid(m.Payload))
		return
	}
	require.Equal(t, wantErr == nil, err == nil, "%q: %v, %v", frame, wantErr, err)
	if err == nil {
		require.Equal(t, want, m)
	}
}

// FuzzDecode holds the claims that the rest of the module rests on: no frame
// makes the codec panic, what decodes encodes back to the same message, and the
// cost of a frame is in proportion to its length.
func FuzzDecode(f *testing.F) {
	for _, name := range []string{"01-join-public.vsn1", "08-broadcast.vsn2", "11-odd-messages.vsn2", "11-odd-messages.vsn1", "15-select.vsn2"} {
		script, err := transcript.Load(name)
		require.NoError(f, err)
		for _, line := range script.Lines {
			if line.IsFrame() && len(line.Frame) < 1000 {
				f.Add(line.Bytes(), strings.HasSuffix(name, "2"), line.Kind == "binary", line.Dir == "recv")
			}
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte, v2, binary, fromServer bool) {
		v, from := phoenix.V1, phoenix.FromClient
		if v2 {
			v = phoenix.V2
		}
		if fromServer {
			from = phoenix.FromServer
		}
		allocated, began := allocatedBytes(), time.Now()
		m, err := phoenix.Decode(v, from, binary, frame)
		require.Less(t, time.Since(began), 2*time.Second+time.Duration(len(frame))*time.Microsecond) // on a busy machine
		require.Less(t, allocatedBytes()-allocated, uint64(1<<20+32*len(frame)))                     // with those of the fuzzer
		if !binary {
			requireAsReference(t, v, from, frame, m, err)
		}
		if err != nil {
			var bad *phoenix.MalformedError
			require.True(t, errors.As(err, &bad) || errors.Is(err, phoenix.ErrUnknownKind), "%T", err)
			return
		}
		m.Payload = bytes.Clone(m.Payload)
		if m.Event == phoenix.EventPostgresChanges && !json.Valid(m.Payload) {
			return // which whoever decodes the change finds out
		}
		again, binaryAgain, err := phoenix.Append(nil, v, from, m)
		if !utf8.Valid(frame) && errors.Is(err, phoenix.ErrNotUTF8) {
			return
		}
		require.NoError(t, err)
		require.Equal(t, binary, binaryAgain)
		m2, err := phoenix.Decode(v, from, binaryAgain, again)
		require.NoError(t, err, "%q became %q", frame, again)
		if from == phoenix.FromServer && v == phoenix.V1 {
			m.JoinRef = "" // the server has no join_ref in serializer 1.0.0
		}
		require.Equal(t, m, m2)
	})
}
