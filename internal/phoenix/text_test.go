package phoenix_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/transcript"
)

type recordedFrame struct {
	version phoenix.Version
	text    []byte
}

// decode decodes a frame, and its change if it is one.
func (f recordedFrame) decode() (m phoenix.Message, c cdc.Change, ids []int64, err error) {
	m, err = phoenix.Decode(f.version, phoenix.FromServer, false, f.text)
	if err == nil && m.Event == phoenix.EventPostgresChanges {
		c, ids, err = cdc.Decode(m.Payload)
	}
	return m, c, ids, err
}

// carefully is decode with encoding/json in the place of this module's parser.
func (f recordedFrame) carefully() (m phoenix.Message, c cdc.Change, ids []int64, err error) {
	if m, err = reference(f.version, f.text); err != nil {
		return phoenix.Message{}, c, nil, err
	}
	if m.Event == phoenix.EventPostgresChanges {
		c, ids, err = cdc.Decode(m.Payload)
	}
	return m, c, ids, err
}

// reference reads a text frame by encoding/json.
func reference(v phoenix.Version, frame []byte) (m phoenix.Message, err error) {
	var list []json.RawMessage
	if v == phoenix.V1 {
		var o map[string]json.RawMessage
		if err := json.Unmarshal(frame, &o); err != nil {
			return m, err
		}
		list = []json.RawMessage{o["join_ref"], o["ref"], o["topic"], o["event"], o["payload"]}
		if list[0] == nil {
			list[0] = json.RawMessage("null")
		}
	} else if err := json.Unmarshal(frame, &list); err != nil {
		return m, err
	}
	if len(list) < 5 || slices.ContainsFunc(list, func(part json.RawMessage) bool { return part == nil }) {
		return m, errors.New("incomplete")
	}
	for i, ref := range []*phoenix.Ref{&m.JoinRef, &m.Ref} {
		if text := string(list[i]); strings.ContainsAny(text[:1], `"-0123456789`) {
			*ref = phoenix.Ref(text)
		} else if text != "null" {
			return m, errors.New("no ref")
		}
	}
	for i, s := range []*string{&m.Topic, &m.Event} {
		if list[2+i][0] != '"' {
			return m, errors.New("no string")
		}
		if err := json.Unmarshal(list[2+i], s); err != nil {
			return m, err
		}
	}
	m.Payload = list[4]
	return m, nil
}

func recordedFrames(t *testing.T, of func(recordedFrame) bool) (list []recordedFrame) {
	for _, name := range transcript.Names() {
		recording, err := transcript.Load(name)
		require.NoError(t, err)
		for _, l := range recording.Lines {
			f := recordedFrame{phoenix.V2, l.Bytes()}
			if recording.Version(l.Conn) == "1.0.0" {
				f.version = phoenix.V1
			}
			if l.Dir == "recv" && l.IsFrame() && l.Kind != "binary" && of(f) {
				list = append(list, f)
			}
		}
	}
	return list
}

func TestDecode_RecordedFramesAreTheSameEitherWay(t *testing.T) {
	list := recordedFrames(t, func(recordedFrame) bool { return true })
	require.Greater(t, len(list), 1000)
	for _, f := range list {
		m, c, ids, err := f.decode()
		wantM, want, wantIDs, wantErr := f.carefully()
		require.Equal(t, wantErr == nil, err == nil, "%s", f.text)
		require.Equal(t, wantM, m)
		require.Equal(t, want, c)
		require.Equal(t, wantIDs, ids)
	}
}

// TestDecode_CorruptedFrames: of 60,000 frames that were cut and changed, none
// is taken that encoding/json refuses, and those that are taken are read as it
// reads them.
func TestDecode_CorruptedFrames(t *testing.T) {
	list := recordedFrames(t, func(f recordedFrame) bool { return len(f.text) < 1200 })
	random := rand.New(rand.NewPCG(7, 8))
	taken, refused := 0, 0
	for i := range 60_000 {
		f := list[i%len(list)]
		f.text = corrupt(random, bytes.Clone(f.text))
		m, c, ids, err := f.decode()
		wantM, want, wantIDs, wantErr := f.carefully()
		if err != nil {
			refused++
			// A change in front of a sixth element, which no server sends, is told
			// as unreadable.
			if wantErr == nil && wantM.Event != phoenix.EventPostgresChanges {
				require.Fail(t, "refused", "%q", f.text)
			}
			continue
		}
		taken++
		if !json.Valid(f.text) {
			require.Fail(t, "taken, though no JSON", "%q", f.text)
		}
		if wantErr != nil || m.Topic != wantM.Topic || m.Event != wantM.Event || !bytes.Equal(m.Payload, wantM.Payload) || !slices.Equal(wantIDs, ids) || c.Table != want.Table {
			require.Fail(t, "read in another way", "%q\n%v %v %v %v\n%v %v %v", f.text, wantM, want, wantIDs, wantErr, m, c, ids)
		}
	}
	require.Greater(t, taken, 5_000)
	require.Greater(t, refused, 20_000)
}

// corrupt cuts, changes or removes a byte, or takes another frame's end.
func corrupt(random *rand.Rand, p []byte) []byte {
	i := random.IntN(len(p))
	switch random.IntN(5) {
	case 0:
		return p[:i]
	case 1:
		p[i] = byte(random.IntN(256))
	case 2:
		const meaning = `{}[]:,"\0-.e tfnu`
		p[i] = meaning[random.IntN(len(meaning))]
	case 3:
		return append(p[:i], p[i+1:]...)
	default:
		return append(p[:i:i], `,"ref":null,"topic":"x"}]`...)
	}
	return p
}

func TestDecode_FramesThatAreWrittenInAnotherWay(t *testing.T) {
	const payload = `{"ids":[1],"data":{"schema":"public","table":"t","type":"INSERT","columns":[{"name":"a","type":"int4"}],"record":{"a":1}}}`
	for text, v := range map[string]phoenix.Version{
		`[null, null,"realtime:x","postgres_changes",` + payload + `]`:                                           phoenix.V2,
		" [null,null,\n\"realtime:x\" ,\"postgres_changes\", " + payload + " ]\t":                                phoenix.V2,
		`[null,null,"realtime:x","postgres_changes",` + payload + ` ]`:                                           phoenix.V2,
		`[null,null,"realtime:x","postgres_changes",` + payload + `,7]`:                                          phoenix.V2,
		`[null,null,"realtime:\u0078","postgres_changes",` + payload + `]`:                                       phoenix.V2,
		`{"event":"postgres_changes","payload":` + payload + `,"more":{},"ref":null,"topic":"realtime:x"}`:       phoenix.V1,
		`{"event":"postgres_changes","payload":` + payload + `,"ref":null,"topic":"y","topic":"realtime:x"}`:     phoenix.V1,
		`{"event":"postgres_changes","payload":` + payload + `,"ref":null,"topic":"realtime:x","join_ref":null}`: phoenix.V1,
	} {
		m, c, ids, err := recordedFrame{v, []byte(text)}.decode()
		require.NoError(t, err, text)
		require.Equal(t, "realtime:x", m.Topic, text)
		require.Equal(t, []int64{1}, ids)
		require.Equal(t, "t", c.Table)
	}
	// What is behind the payload of a change is taken for a piece of it, and the
	// change then told as unreadable. No server sends more than five elements.
	_, _, _, err := recordedFrame{phoenix.V2, []byte(`[null,null,"realtime:x","postgres_changes",` + payload + `,{"more":1}]`)}.decode()
	var unreadable *cdc.PayloadError
	require.ErrorAs(t, err, &unreadable)
	// Other events are read whole, whatever stands behind their payload.
	m, err := phoenix.Decode(phoenix.V2, phoenix.FromServer, false, []byte(`[null,null,"t","e",{"a":1},{"b":2}]`))
	require.NoError(t, err)
	require.Equal(t, `{"a":1}`, string(m.Payload))
}

func TestDecode_AllocatesNothingForChangesOfOneTopic(t *testing.T) {
	d := phoenix.Decoder{Version: phoenix.V2, From: phoenix.FromServer}
	frame := []byte(`[null,null,"realtime:x","postgres_changes",{"ids":[1],"data":{}}]`)
	require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = d.Decode(false, frame) }))
}
