package push

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestIsService_OnlyKnownHosts(t *testing.T) {
	for address, want := range map[string]bool{
		"https://fcm.googleapis.com/fcm/send/x":                true,
		"https://updates.push.services.mozilla.com/wpush/v2/x": true,
		"https://wns2-par02p.notify.windows.com/w/?token=x":    true,
		"https://web.push.apple.com/x":                         true,
		"https://fcm.googleapis.com:443/x":                     true,
		"http://fcm.googleapis.com/x":                          false,
		"https://fcm.googleapis.com:8443/x":                    false,
		"https://evil.test/fcm.googleapis.com":                 false,
		"https://fcm.googleapis.com.evil.test/x":               false,
		"https://notify.windows.com.evil.test/x":               false,
		"https://169.254.169.254/latest/meta-data":             false,
		"https://localhost/x":                                  false,
	} {
		u, err := url.Parse(address)
		require.NoError(t, err)
		require.Equal(t, want, isService(u, PushServices), address)
	}
}

func TestIsBelow_NormalisesFirst(t *testing.T) {
	const relay = "http://page.test/relay/push/"
	for address, want := range map[string]bool{
		relay + "TOKEN": true, relay: false, relay + "../../break": false, relay + "x/../../../break": false,
		relay + "%2e%2e/%2e%2e/break": false, relay + "./x": false, relay + "/x": false, relay + "x?y": false, relay + `..\..\break`: false,
		"http://page.test.evil.test/relay/push/x": false,
	} {
		require.Equal(t, want, isBelow(address, relay), address)
	}
}

func TestPublicClient_ReachesNothingInside(t *testing.T) {
	hits := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits++
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	defer server.Close()
	_, err := PublicClient().Get(server.URL)
	require.ErrorContains(t, err, "not public")
	require.Zero(t, hits)
	answer, err := unredirected(server.Client()).Get(server.URL)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, 1, hits)
	for _, ip := range []string{"100.64.0.1", "198.18.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"} {
		require.True(t, reserved(netip.MustParseAddr(ip)), ip)
	}
	require.False(t, reserved(netip.MustParseAddr("8.8.8.8")))
}

func TestSenders_RefuseAddressesThatLeadElsewhere(t *testing.T) {
	expires := time.Now().Add(time.Minute)
	for _, topic := range []string{"..", ".", "../x", "a/b", "", "a b", "a%2fb", "a?b"} {
		err := (&Ntfy{URL: "http://ntfy.test"}).Send(t.Context(), Device{Address: topic}, Notification{Expires: expires})
		require.True(t, errors.Is(err, ErrRefused), topic)
	}
}
