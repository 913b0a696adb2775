package redact_test

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/redact"
	"github.com/gapless-go/gapless/internal/transcript"
)

const token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJyb2xlIjoiYW5vbiIsImV4cCI6NDEwMjQ0NDgwMH0.1HClai70rRoID7sHlpx3OMtLzsrctt16DjEX9xyUytI"

func TestText(t *testing.T) {
	spaced := base64.RawURLEncoding.EncodeToString([]byte("{\n\"alg\":\"HS256\"}"))
	for _, c := range []struct{ in, want string }{
		{`["1","1","realtime:a","phx_join",{"access_token":"` + token + `", "config" : {}}]`, `["1","1","realtime:a","phx_join",{"access_token":"[redacted]", "config" : {}}]`},
		{`{"access_token":"opaque"}`, `{"access_token":"[redacted]"}`},
		{`{"access\u005ftoken" : "opaque"}`, `{"access\u005ftoken" : "[redacted]"}`},
		{`{"Password":1234,"n":5,"refresh_token":null}`, `{"Password":"[redacted]","n":5,"refresh_token":null}`},
		{`{"token":["a","b"],"x":"c"}`, `{"token":"[redacted]","x":"c"}`},
		{`{"x":"before ` + token + ` after"}`, `{"x":"before [redacted] after"}`},
		{`{"x":"\u0065yJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJyb2xlIjoiYW5vbiJ9.sig"}`, `{"x":"[redacted]"}`},
		{`{"x":"{\"apikey\":\"opaque\",\"y\":\"<\\\"\"}"}`, `{"x":"{\"apikey\":\"[redacted]\",\"y\":\"<\\\"\"}"}`},
		{`{"x":"sb_secret_abc-DEF_1","y":"sb_publishable_1"}`, `{"x":"sb_secret_[redacted]","y":"sb_publishable_[redacted]"}`},
		{"Authorization: Bearer " + "0123456789abcdef", "Authorization: Bearer [redacted]"},
		{`see https://x.test/realtime?apikey=opaque&vsn=2.0.0`, `see https://x.test/realtime?apikey=[redacted]&vsn=2.0.0`},
		{spaced + "." + spaced + ".x", "[redacted]"},
		{`{"x":"{\"token\":\"never ends`, `{"x":"{\"token\":\"[redacted]\""`},
		{`{"x":"{\"token\":\"an escape\ud83`, `{"x":"{\"token\":\"[redacted]\""`},
		{`{"access_token":"never ends`, `{"access_token":"[redacted]"`},
		{`["1","2","realtime:eyes.only","broadcast",{"n":1.50,"s":"é\n\"\/"}]`, `["1","2","realtime:eyes.only","broadcast",{"n":1.50,"s":"é\n\"\/"}]`},
		{"", ""},
	} {
		require.Equal(t, c.want, redact.String(c.in))
	}
}

// Recorded frames keep every byte that is not of a token, in both serializers,
// and binary ones their form.
func TestRecordedFrames(t *testing.T) {
	for _, name := range transcript.Names() {
		script, err := transcript.Load(name)
		require.NoError(t, err)
		for _, l := range script.Lines {
			if !l.IsFrame() {
				continue
			}
			from := phoenix.FromServer
			if l.Dir == "send" {
				from = phoenix.FromClient
			}
			v := phoenix.V1
			if strings.HasPrefix(script.Version(l.Conn), "2") {
				v = phoenix.V2
			}
			raw := l.Bytes()
			safe := redact.Frame(v, from, l.Kind == "binary", raw)
			require.NotContains(t, string(safe), "eyJ", "%s %d", name, l.MS)
			require.Equal(t, json.Valid(raw), json.Valid(safe), "%s", safe)
			if !strings.Contains(string(raw), "eyJ") && !strings.Contains(string(raw), "token") {
				require.Equal(t, string(raw), string(safe))
			}
		}
	}
}

func TestBinaryFramesKeepTheirForm(t *testing.T) {
	m := phoenix.Message{Kind: phoenix.UserPush, JoinRef: `"1"`, Ref: `"2"`, Topic: "realtime:a", Event: phoenix.EventBroadcast,
		UserEvent: "e", Payload: []byte(`{"token":"opaque","n":1}`), JSON: true}
	frame, _, err := phoenix.Append(nil, phoenix.V2, phoenix.FromClient, m)
	require.NoError(t, err)
	got, err := phoenix.Decode(phoenix.V2, phoenix.FromClient, true, redact.Frame(phoenix.V2, phoenix.FromClient, true, frame))
	require.NoError(t, err)
	require.Equal(t, `{"token":"[redacted]","n":1}`, string(got.Payload))
	require.Equal(t, "realtime:a", got.Topic)
	require.Equal(t, "[redacted]", string(redact.Frame(phoenix.V1, phoenix.FromClient, true, []byte("\xff"+token+"\x00"))), "nobody knows what is in it")
}

func TestURL(t *testing.T) {
	u, err := url.Parse("http://x/realtime/v1/websocket?vsn=1.0.0&api%6Bey=sb_secret_1&x=Bearer%20" + token + "&y=a%20b")
	require.NoError(t, err)
	require.Equal(t, "/realtime/v1/websocket?vsn=1.0.0&api%6Bey=[redacted]&x=Bearer+%5Bredacted%5D&y=a%20b", redact.URL(u))
}

func TestHeader(t *testing.T) {
	require.Equal(t, "Bearer [redacted]", redact.Header("authorization", "Bearer opaque"))
	require.Equal(t, "[redacted]", redact.Header("Authorization", "opaque"))
	require.Equal(t, "[redacted]", redact.Header("X-API-Key", "opaque"))
	require.Equal(t, "[redacted]", redact.Header("Cookie", "sb=1"))
	require.Equal(t, "application/json", redact.Header("Content-Type", "application/json"))
}

// FuzzText hides a token in any JSON, by any escapes that the fuzzer finds.
func FuzzText(f *testing.F) {
	f.Add(`{"x":"`, `"}`, false)
	f.Add(`["a",{"b\"c":"\u0041`, `",1]}`, true)
	f.Fuzz(func(t *testing.T, before, after string, escaped bool) {
		hidden := token
		if escaped {
			hidden = `\u0065` + hidden[1:]
		}
		doc := before + hidden + after
		safe := redact.String(doc)
		var value any
		if json.Unmarshal([]byte(doc), &value) != nil {
			return
		}
		require.NoError(t, json.Unmarshal([]byte(safe), &value), safe)
		again, err := json.Marshal(value)
		require.NoError(t, err)
		require.NotContains(t, string(again), token[10:])
		require.Equal(t, safe, redact.String(safe), "once is enough")
	})
}
