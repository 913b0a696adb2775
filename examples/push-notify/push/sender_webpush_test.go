package push

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/examples/push-notify/relay"
)

// subscribe makes a subscription at a relay that is served at an address, and
// returns it and where its messages are.
func subscribe(t *testing.T, address, public string) (subscription, receive string) {
	answer, err := http.Post(address+"/relay/subscriptions", "application/json", strings.NewReader(`{"applicationServerKey":"`+public+`"}`))
	require.NoError(t, err)
	defer answer.Body.Close()
	var s struct {
		Endpoint string            `json:"endpoint"`
		Keys     map[string]string `json:"keys"`
		Receive  string            `json:"receive,omitempty"`
	}
	require.NoError(t, json.NewDecoder(answer.Body).Decode(&s))
	receive, s.Receive = s.Receive, ""
	text, err := json.Marshal(s)
	require.NoError(t, err)
	return string(text), receive
}

// received reads the first message that waits at a relay.
func received(t *testing.T, address string) (n Notification) {
	answer, err := http.Get(address)
	require.NoError(t, err)
	defer answer.Body.Close()
	line, err := bufio.NewReader(answer.Body).ReadString('\n')
	require.NoError(t, err)
	var m struct{ Data string }
	require.NoError(t, json.Unmarshal([]byte(strings.TrimPrefix(line, "data: ")), &m))
	require.NoError(t, json.Unmarshal([]byte(m.Data), &n))
	return n
}

// The relay takes nothing that is not signed and encrypted as it has to be.
func TestWebPushIsSignedAndEncrypted(t *testing.T) {
	private, public, err := VAPIDKeys()
	require.NoError(t, err)
	var service *relay.Service
	var ttl, topic string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/relay/push/") {
			ttl, topic = r.Header.Get("TTL"), r.Header.Get("Topic")
		}
		service.Handler(t.Context()).ServeHTTP(w, r)
	}))
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	service = relay.New(server.URL)
	address, receive := subscribe(t, server.URL, public)
	s := &WebPush{PublicKey: public, PrivateKey: private, Contact: "ops@example.com", Client: http.DefaultClient}
	d := Device{Address: address}
	n := Notification{Key: "live-" + strings.Repeat("7", 36), Title: "Order 7", Body: "Ann, it is here.", Expires: time.Now().Add(time.Minute).UTC().Round(0)}
	require.NoError(t, s.Send(t.Context(), d, n))
	require.Equal(t, n, received(t, server.URL+receive))
	require.Contains(t, []string{"59", "58", "57"}, ttl)

	first := topic
	require.NoError(t, s.Send(t.Context(), d, n))
	require.Equal(t, first, topic, "a repetition is in the place of the first")
	require.Equal(t, 1, service.Counts().Waiting)
	n.Key = "event-8"
	require.NoError(t, s.Send(t.Context(), d, n))
	require.NotEqual(t, first, topic)

	r, err := http.NewRequest("DELETE", server.URL+receive, nil)
	require.NoError(t, err)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.ErrorIs(t, s.Send(t.Context(), d, n), ErrGone)
	_, s.PublicKey, err = VAPIDKeys()
	require.NoError(t, err)
	require.EqualError(t, s.Verify(), "the VAPID keys are no pair")
}

func TestWebPushJudgesAnswers(t *testing.T) {
	private, public, err := VAPIDKeys()
	require.NoError(t, err)
	status := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	defer server.Close()
	defer server.Client().CloseIdleConnections()
	s := &WebPush{PublicKey: public, PrivateKey: private, Contact: "ops@example.com", Client: server.Client()}
	const keys = `"keys":{"p256dh":"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4","auth":"BTBZMqHH6r4Tts7J_aSIgg"}}`
	d := Device{Address: `{"endpoint":"` + server.URL + `/push/secret",` + keys}
	n := Notification{Key: "event-7", Expires: time.Now().Add(time.Minute)}
	for code, want := range map[int]error{404: ErrGone, 410: ErrGone, 400: ErrRefused, 413: ErrRefused} {
		status = code
		require.ErrorIs(t, s.Send(t.Context(), d, n), want, code)
	}
	for _, status = range []int{401, 403, 429, 503} {
		err := s.Send(t.Context(), d, n)
		require.Error(t, err)
		require.NotErrorIs(t, err, ErrGone)
		require.NotErrorIs(t, err, ErrRefused, "it may pass")
	}
	for name, address := range map[string]string{
		"nothing": "{}", "no JSON": "x", "another curve": strings.Replace(d.Address, `"BCVx`, `"ACVx`, 1),
		"no secret": strings.Replace(d.Address, "BTBZMqHH6r4Tts7J_aSIgg", "", 1), "no URL of the web": `{"endpoint":"file:///push",` + keys,
	} {
		require.ErrorIs(t, s.Send(t.Context(), Device{Address: address}, n), ErrSubscription, name)
		require.ErrorIs(t, s.Send(t.Context(), Device{Address: address}, n), ErrRefused, name)
	}
	long, late := n, n
	long.Body = strings.Repeat("x", 4096)
	require.ErrorIs(t, s.Send(t.Context(), d, long), ErrRefused)
	late.Expires = time.Now()
	require.ErrorIs(t, s.Send(t.Context(), d, late), ErrRefused)
	server.Close()
	err = s.Send(t.Context(), d, n)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "secret")
}
