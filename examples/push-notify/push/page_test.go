package push

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/examples/push-notify/relay"
	"github.com/gapless-go/gapless/mockserver"
)

// pageOf is the page of a demo with two customers.
func pageOf(t *testing.T, d *Demo, s *Service) *Page {
	t.Helper()
	p := &Page{
		Origin: "http://page.test", Relay: relay.New("http://page.test"), PublicKey: "the key", Shop: d.NewShop("phone"),
		Service: s, Break: func() {}, Log: slog.New(slog.DiscardHandler),
	}
	for range 2 {
		require.NoError(t, p.Shop.Do(func(s *Shop) error { return s.Welcome(1) }))
	}
	return p
}

func (p *Page) ask(t *testing.T, method, path, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	p.Handler(t.Context()).ServeHTTP(w, r)
	return w
}

func TestPageHasNoExternalParts(t *testing.T) {
	p := &Page{Relay: relay.New(""), PublicKey: `"key"`}
	index := p.ask(t, "GET", "/", "")
	require.Equal(t, 200, index.Code)
	require.Contains(t, index.Header().Get("Content-Security-Policy"), "default-src 'self'")
	require.Contains(t, index.Body.String(), "&#34;key&#34;")
	require.Contains(t, index.Body.String(), `data-statuses="placed packed shipped arriving delivered"`)
	require.NotContains(t, index.Body.String(), "http")
	for path, kind := range map[string]string{
		"/static/page.js": "text/javascript; charset=utf-8", "/static/style.css": "text/css; charset=utf-8",
		"/static/icon.svg": "image/svg+xml", "/worker.js": "text/javascript; charset=utf-8",
	} {
		file := p.ask(t, "GET", path, "")
		require.Equal(t, 200, file.Code, path)
		require.Equal(t, kind, file.Header().Get("Content-Type"))
		text := strings.ReplaceAll(file.Body.String(), "http://www.w3.org/2000/svg", "")
		require.NotContains(t, text, "http:")
		require.NotContains(t, text, "//www")
	}
	require.Equal(t, 404, p.ask(t, "GET", "/index.html", "").Code)
}

// subscriptionAt is what a browser posts.
func subscriptionAt(customer int, endpoint string) string {
	return fmt.Sprintf(`{"customer":%d,"subscription":{"endpoint":%q,"expirationTime":null,"keys":{
		"p256dh":"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4","auth":"BTBZMqHH6r4Tts7J_aSIgg"}}}`,
		customer, endpoint)
}

func TestSubscribing(t *testing.T) {
	d, err := NewDemo(mockserver.Config{InMemory: true})
	require.NoError(t, err)
	defer d.Close()
	p := pageOf(t, d, nil)
	browsers := func() (addresses []string) {
		rows, err := d.Server.Rows("devices")
		require.NoError(t, err)
		for _, r := range rows {
			if r["kind"] == "webpush" {
				addresses = append(addresses, fmt.Sprint(r["customer_id"], " ", r["address"]))
			}
		}
		return addresses
	}
	const at = "https://fcm.googleapis.com/fcm/send/x"
	for name, c := range map[string]struct {
		want int
		body string
	}{
		"no JSON":          {400, "x"},
		"nothing":          {400, "{}"},
		"no such customer": {404, subscriptionAt(3, at)},
		"no customer":      {404, subscriptionAt(0, at)},
		"too long":         {413, subscriptionAt(1, at+strings.Repeat("x", maxAsked))},
		"no key":           {400, strings.Replace(subscriptionAt(1, at), "BCVx", "BCVy", 1)},
		"no encryption":    {400, subscriptionAt(1, "http://fcm.googleapis.com/fcm/send/x")},
		"inside":           {400, subscriptionAt(1, "https://10.0.0.1/x")},
		"another port":     {400, subscriptionAt(1, "https://fcm.googleapis.com:22/x")},
		"nearly a vendor":  {400, subscriptionAt(1, "https://evilpush.apple.com/x")},
		"credentials":      {400, subscriptionAt(1, "https://fcm.googleapis.com@10.0.0.1/x")},
		"nearly the relay": {400, subscriptionAt(1, "http://page.test.example.com/relay/push/x")},
	} {
		require.Equal(t, c.want, p.ask(t, "POST", "/subscribe", c.body).Code, name)
	}
	require.Equal(t, 403, p.ask(t, "POST", "/subscribe", subscriptionAt(1, at), "Sec-Fetch-Site", "cross-site").Code)
	require.Empty(t, browsers())

	require.Equal(t, 204, p.ask(t, "POST", "/subscribe", subscriptionAt(1, at)).Code)
	require.Equal(t, 204, p.ask(t, "POST", "/subscribe", subscriptionAt(1, at)).Code)
	require.Len(t, browsers(), 1, "once")
	require.Equal(t, 204, p.ask(t, "POST", "/subscribe", subscriptionAt(2, at)).Code)
	require.Len(t, browsers(), 1, "a browser is one customer's")
	require.True(t, strings.HasPrefix(browsers()[0], "2 "))
	require.Equal(t, 204, p.ask(t, "POST", "/unsubscribe", subscriptionAt(1, at)).Code)
	require.Empty(t, browsers())

	hosts := []string{"web.push.apple.com", "updates.push.services.mozilla.com", "wns2-par02p.notify.windows.com"}
	for n := range maxBrowsers {
		require.Equal(t, 204, p.ask(t, "POST", "/subscribe", subscriptionAt(1, fmt.Sprintf("https://%s/%d", hosts[n%3], n))).Code)
	}
	require.Equal(t, 409, p.ask(t, "POST", "/subscribe", subscriptionAt(1, "http://page.test/relay/push/x")).Code)
	require.Equal(t, 204, p.ask(t, "POST", "/subscribe", subscriptionAt(1, "https://web.push.apple.com/0")).Code, "one that is there")
	require.Equal(t, 204, p.ask(t, "POST", "/subscribe", subscriptionAt(2, "http://page.test/relay/push/x")).Code)
	require.Equal(t, 404, p.ask(t, "POST", "/advance", `{"customer":9}`).Code)
}

// The page tells what is going on, and ends with the program.
func TestPageTellsWhatHappens(t *testing.T) {
	inShop(t, func(w *shopWorld) {
		p := pageOf(w.T, w.demo, w.service)
		time.Sleep(30 * time.Second)
		s := p.state()
		require.Equal(w, []string{"Ann", "Ben"}, s.Customers)
		require.Equal(w, []Order{{2, 2, "placed", 0}, {1, 1, "placed", 0}}, s.Orders)
		require.Equal(w, "synced", s.Phase)
		require.Equal(w, 2, s.Devices)
		require.EqualValues(w, 2, s.Sent)
		require.Zero(w, s.Gaps)

		require.Equal(w, 204, p.ask(w.T, "POST", "/advance", `{"customer":1}`).Code)
		w.demo.Server.Restart(4 * time.Second)
		time.Sleep(time.Second)
		s = p.state()
		require.Equal(w, Order{1, 1, "packed", 1}, s.Orders[1])
		require.Equal(w, "stale", s.Phase)
		time.Sleep(time.Minute)
		s = p.state()
		require.Equal(w, "synced", s.Phase)
		require.EqualValues(w, 2, s.Gaps, "one of each cache")
		require.EqualValues(w, 3, s.Sent)
		for range 5 * kept { // every order takes five
			require.Equal(w, 204, p.ask(w.T, "POST", "/advance", `{"customer":2}`).Code)
		}
		require.Len(w, p.state().Orders, kept)
	})
}

func TestEventsOfThePage(t *testing.T) {
	inShop(t, func(w *shopWorld) {
		p := pageOf(w.T, w.demo, w.service)
		ctx, stop := context.WithCancel(w.Context())
		answer := httptest.NewRecorder()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			p.Handler(ctx).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/events", nil))
		}()
		time.Sleep(30 * time.Second)
		stop()
		<-ended
		require.Equal(w, "text/event-stream", answer.Header().Get("Content-Type"))
		var last shownState
		told := 0
		for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
			if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				require.NoError(w, json.Unmarshal([]byte(text), &last))
				told++
			}
		}
		require.EqualValues(w, 2, last.Sent)
		require.Less(w, told, 20, "what is not new is not told")
	})
}
