package channel

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
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

func recordedChanges(t *testing.T) (list []recordedFrame) {
	for _, name := range transcript.Names() {
		recording, err := transcript.Load(name)
		require.NoError(t, err)
		for _, l := range recording.Lines {
			v := phoenix.V2
			if recording.Version(l.Conn) == "1.0.0" {
				v = phoenix.V1
			}
			if l.Dir != "recv" || !l.IsFrame() || l.Kind == "binary" || !bytes.Contains(l.Bytes(), []byte(`"postgres_changes",{`)) && !bytes.Contains(l.Bytes(), []byte(`"event":"postgres_changes"`)) {
				continue
			}
			list = append(list, recordedFrame{v, l.Bytes()})
		}
	}
	require.Greater(t, len(list), 300)
	return list
}

// quickly and carefully are the two ways from a frame to a change. Where the
// first gives up it goes the second's way.
func quickly(f recordedFrame) (topic string, c cdc.Change, ids []int64, cut bool, err error) {
	raw, payload, ok := phoenix.Cut(f.version, f.text)
	if !ok {
		topic, c, ids, err = carefully(f)
		return topic, c, ids, false, err
	}
	if c, ids, err = cdc.Decode(payload); err != nil {
		c, ids, err = decodeFrame(f.version, f.text)
	}
	return string(raw), c, ids, true, err
}

func carefully(f recordedFrame) (topic string, c cdc.Change, ids []int64, err error) {
	m, err := phoenix.Decode(f.version, phoenix.FromServer, false, f.text)
	if err != nil {
		return "", c, nil, err
	}
	c, ids, err = cdc.Decode(m.Payload)
	return m.Topic, c, ids, err
}

func TestRecordedFramesAreCut(t *testing.T) {
	list, cuts := recordedChanges(t), 0
	for _, f := range list {
		topic, c, ids, cut, err := quickly(f)
		wantTopic, want, wantIDs, wantErr := carefully(f)
		require.Equal(t, wantErr, err)
		require.Equal(t, wantTopic, topic)
		require.Equal(t, want, c)
		require.Equal(t, wantIDs, ids)
		if cut {
			cuts++
		}
	}
	require.Greater(t, cuts, len(list)*9/10)
}

// TestCorruptedFrames: of 60,000 frames that were cut and changed, none is
// taken that encoding/json refuses, and those that are taken are read as the
// careful way reads them.
func TestCorruptedFrames(t *testing.T) {
	list := slices.DeleteFunc(recordedChanges(t), func(f recordedFrame) bool { return len(f.text) > 1200 })
	random := rand.New(rand.NewPCG(7, 8))
	taken, refused := 0, 0
	for i := range 60_000 {
		f := list[i%len(list)]
		f.text = corrupt(random, bytes.Clone(f.text))
		topic, c, ids, cut, err := quickly(f)
		if err != nil {
			refused++
			if _, _, _, wantErr := carefully(f); wantErr == nil {
				require.Fail(t, "refused", "%q", f.text)
			}
			continue
		}
		taken++
		if !json.Valid(f.text) {
			require.Fail(t, "taken, though no JSON", "%q", f.text)
		}
		if !cut {
			continue
		}
		wantTopic, want, wantIDs, wantErr := carefully(f)
		if wantErr != nil || wantTopic != topic || !slices.Equal(wantIDs, ids) || !reflect.DeepEqual(want, c) {
			require.Fail(t, "read in another way", "%q\n%v %v %v %v\n%v %v %v", f.text, wantTopic, want, wantIDs, wantErr, topic, c, ids)
		}
	}
	t.Logf("%d taken, %d refused", taken, refused)
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

// TestFramesThatAreNoCut: what a cut gets wrong is found and read again.
func TestFramesThatAreNoCut(t *testing.T) {
	const payload = `{"ids":[1],"data":{"schema":"public","table":"t","type":"INSERT","columns":[{"name":"a","type":"int4"}],"record":{"a":1}}}`
	for text, v := range map[string]phoenix.Version{
		`[null,null,"realtime:x","postgres_changes",` + payload + `,{"more":1}]`:                                 phoenix.V2,
		`[null,null,"realtime:x","postgres_changes",` + payload + ` ]`:                                           phoenix.V2,
		`[null,null,"realtime:\u0078","postgres_changes",` + payload + `]`:                                       phoenix.V2,
		`{"event":"postgres_changes","payload":` + payload + `,"more":{},"ref":null,"topic":"realtime:x"}`:       phoenix.V1,
		`{"event":"postgres_changes","payload":` + payload + `,"ref":null,"topic":"y","topic":"realtime:x"}`:     phoenix.V1,
		`{"event":"postgres_changes","payload":` + payload + `,"ref":null,"topic":"realtime:x","join_ref":null}`: phoenix.V1,
	} {
		topic, c, ids, _, err := quickly(recordedFrame{v, []byte(text)})
		require.NoError(t, err, text)
		require.Equal(t, "realtime:x", topic, text)
		require.Equal(t, []int64{1}, ids)
		require.Equal(t, "t", c.Table)
	}
	_, _, _, cut, err := quickly(recordedFrame{phoenix.V2, []byte(`[null,null,"realtime:x","postgres_changes",{"ids":[1}]`)})
	require.True(t, cut)
	var bad *phoenix.MalformedError
	require.ErrorAs(t, err, &bad)
	require.Equal(t, "realtime:x", bad.Topic)
}
