package push

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// subscriptionTo is that of a browser whose push service has an address.
func subscriptionTo(t testing.TB, endpoint string) string {
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	text, err := json.Marshal(map[string]any{"endpoint": endpoint, "keys": map[string]string{
		"p256dh": base64.RawURLEncoding.EncodeToString(key.PublicKey().Bytes()), "auth": base64.RawURLEncoding.EncodeToString(make([]byte, 16))}})
	require.NoError(t, err)
	return string(text)
}

func testNotification() Notification {
	return Notification{Key: "k", Title: "t", Body: "b", Expires: time.Now().Add(time.Hour)}
}

// A contact is sent in the form of RFC 8292, in whichever form it was given, and what
// is none is refused at the start.
func TestWebPush_Contact(t *testing.T) {
	private, public, err := VAPIDKeys()
	require.NoError(t, err)
	var token string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _, _ = strings.Cut(strings.TrimPrefix(r.Header.Get("Authorization"), "vapid t="), ",")
		w.WriteHeader(http.StatusCreated)
	}))
	defer server.Close()
	for given, want := range map[string]string{
		"ops@example.com": "mailto:ops@example.com", "mailto:ops@example.com": "mailto:ops@example.com",
		"MAILTO:ops@example.com": "mailto:ops@example.com", "https://example.com/contact": "https://example.com/contact",
		"": "", "mailto:": "", "mailto:mailto:ops@example.com": "", "example.com": "", "http://example.com": "", "Ops <ops@example.com>": "", "https://": "",
	} {
		s := &WebPush{PublicKey: public, PrivateKey: private, Contact: given, Client: server.Client()}
		err := s.Send(t.Context(), Device{Address: subscriptionTo(t, server.URL)}, testNotification())
		if want == "" {
			require.Error(t, s.Verify(), given)
			require.Error(t, err, given)
			continue
		}
		require.NoError(t, s.Verify(), given)
		require.NoError(t, err, given)
		text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
		require.NoError(t, err)
		var claims struct{ Sub string }
		require.NoError(t, json.Unmarshal(text, &claims))
		require.Equal(t, want, claims.Sub)
	}
}

// A service that redirects is not followed, and one that is not known, or reached
// within the network, is not asked.
func TestSenders_StayAtTheService(t *testing.T) {
	private, public, err := VAPIDKeys()
	require.NoError(t, err)
	followed, asked := 0, 0
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed++ }))
	defer elsewhere.Close()
	status := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		http.Redirect(w, r, elsewhere.URL, status)
	}))
	defer server.Close()
	browser := Device{Address: subscriptionTo(t, server.URL+"/push")}
	open := &WebPush{PublicKey: public, PrivateKey: private, Contact: "ops@example.com", Client: server.Client()}
	ntfy := &Ntfy{URL: server.URL, Client: server.Client()}
	for _, status = range []int{301, 302, 303, 307, 308} {
		require.ErrorIs(t, open.Send(t.Context(), browser, testNotification()), ErrRefused, status)
		require.ErrorIs(t, ntfy.Send(t.Context(), Device{Address: "topic"}, testNotification()), ErrRefused, status)
	}
	require.Equal(t, 10, asked)
	require.Zero(t, followed)

	known := *open
	known.Services = PushServices
	require.ErrorIs(t, known.Send(t.Context(), browser, testNotification()), ErrRefused)
	inside := *open
	inside.Client = PublicClient()
	require.ErrorContains(t, inside.Send(t.Context(), browser, testNotification()), "not public")
	require.Equal(t, 10, asked)
}

func FuzzParseSubscription(f *testing.F) {
	f.Add(subscriptionTo(f, "https://web.push.apple.com/x"))
	f.Add(`{"endpoint":"http://[::1]:80/..","keys":{"p256dh":"","auth":"AA=="}}`)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSubscription([]byte(text))
		if err != nil {
			require.Equal(t, ErrSubscription, err, "it repeats nothing of the text")
			return
		}
		again, err := json.Marshal(s)
		require.NoError(t, err)
		same, err := ParseSubscription(again)
		require.NoError(t, err)
		require.Equal(t, s, same)
	})
}
