package relay

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/SherClockHolmes/webpush-go"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gapless-go/gapless/internal/memhttp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const origin = "http://relay.test"

// world is a Service in virtual time, and the keys of a server that sends.
type world struct {
	*testing.T
	service         *Service
	client          *http.Client
	private, public string
}

// subscribed is what a page is given.
type subscribed struct {
	webpush.Subscription
	Receive string
}

func inRelay(t *testing.T, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		l := memhttp.Listen()
		w := &world{T: t, service: New(origin), client: l.Client()}
		ctx, stop := context.WithCancel(context.Background())
		server := &http.Server{Handler: w.service.Handler(ctx)}
		ended := make(chan struct{})
		go func() { defer close(ended); _ = server.Serve(l) }()
		t.Cleanup(func() {
			stop()
			w.client.CloseIdleConnections()
			require.NoError(t, server.Close())
			<-ended
			time.Sleep(time.Second) // net/http ends the connection of a body that was too long half a second later
		})
		var err error
		w.private, w.public, err = webpush.GenerateVAPIDKeys()
		require.NoError(t, err)
		f(w)
	})
}

// do makes a request and returns the status and the body.
func (w *world) do(method, path, body string) (int, []byte) {
	w.Helper()
	r, err := http.NewRequest(method, origin+path, strings.NewReader(body))
	require.NoError(w, err)
	answer, err := w.client.Do(r)
	require.NoError(w, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(w, err)
	return answer.StatusCode, text
}

func (w *world) subscribe() (s subscribed) {
	w.Helper()
	status, text := w.do("POST", "/relay/subscriptions", `{"applicationServerKey":"`+w.public+`"}`)
	require.Equal(w, 201, status)
	require.NoError(w, json.Unmarshal(text, &s))
	return s
}

// edited is an HTTP client that changes requests first.
type edited struct {
	*http.Client
	edit func(*http.Request)
}

func (e edited) Do(r *http.Request) (*http.Response, error) {
	e.edit(r)
	return e.Client.Do(r)
}

// sending is a message and what is to be wrong with it.
type sending struct {
	text, topic string
	ttl         int
	private     string // empty: the right one
	edit        func(*http.Request)
}

// send returns the status and the headers of the answer.
func (w *world) send(to subscribed, m sending) (int, http.Header) {
	w.Helper()
	o := &webpush.Options{HTTPClient: w.client, Subscriber: "ops@example.com", VAPIDPublicKey: w.public, VAPIDPrivateKey: w.private, TTL: m.ttl, Topic: m.topic}
	if m.private != "" {
		o.VAPIDPrivateKey = m.private
	}
	if m.edit != nil {
		o.HTTPClient = edited{w.client, m.edit}
	}
	answer, err := webpush.SendNotificationWithContext(w.Context(), []byte(m.text), &to.Subscription, o)
	require.NoError(w, err)
	_, _ = io.Copy(io.Discard, answer.Body)
	require.NoError(w, answer.Body.Close())
	return answer.StatusCode, answer.Header
}

// page is one that listens.
type page struct {
	w     *world
	body  io.Closer
	lines *bufio.Scanner
}

func (w *world) listen(s subscribed) *page {
	w.Helper()
	answer, err := w.client.Get(origin + s.Receive)
	require.NoError(w, err)
	require.Equal(w, 200, answer.StatusCode)
	w.Cleanup(func() { _ = answer.Body.Close() })
	return &page{w, answer.Body, bufio.NewScanner(answer.Body)}
}

type given struct {
	ID   int
	Data string
}

func (p *page) next() (m given) {
	p.w.Helper()
	for p.lines.Scan() {
		if text, ok := strings.CutPrefix(p.lines.Text(), "data: "); ok {
			require.NoError(p.w, json.Unmarshal([]byte(text), &m))
			return m
		}
	}
	require.FailNow(p.w, "the stream has ended")
	return m
}

// The example of RFC 8291, section 5 and appendix A.
func TestDecryptsTheExampleOfTheRFC(t *testing.T) {
	bytesOf := func(text string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(text)
		require.NoError(t, err)
		return b
	}
	private, err := ecdh.P256().NewPrivateKey(bytesOf("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"))
	require.NoError(t, err)
	auth := bytesOf("BTBZMqHH6r4Tts7J_aSIgg")
	body := bytesOf("DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN")
	text, err := decrypt(body, private, auth)
	require.NoError(t, err)
	require.Equal(t, "When I grow up, I want to be a watermelon", string(text))
	for n := range len(body) {
		_, err := decrypt(body[:n], private, auth)
		require.Error(t, err, n)
		broken := bytes.Clone(body)
		broken[n] ^= 1
		if n >= saltLen && n < saltLen+4 { // the size of records, which is in no key
			continue
		}
		_, err = decrypt(broken, private, auth)
		require.Error(t, err, n)
	}
}

func TestAMessageComesToThePage(t *testing.T) {
	inRelay(t, func(w *world) {
		s := w.subscribe()
		p := w.listen(s)
		status, header := w.send(s, sending{text: `{"a":"ø"}`, ttl: 60})
		require.Equal(t, 201, status)
		require.Equal(t, "60", header.Get("TTL"))
		require.Regexp(t, "^"+origin+"/relay/messages/", header.Get("Location"))
		require.Equal(t, given{1, `{"a":"ø"}`}, p.next())
		require.Equal(t, Counts{Subscriptions: 1, Accepted: 1, Waiting: 1}, w.service.Counts())

		// Until it was shown, other pages are given it too.
		other := w.listen(s)
		require.Equal(t, 1, other.next().ID)
		for range 2 {
			status, _ = w.do("DELETE", s.Receive+"/1", "")
			require.Equal(t, 204, status)
		}
		require.Equal(t, Counts{Subscriptions: 1, Accepted: 1, Shown: 1}, w.service.Counts())
		w.send(s, sending{text: "2", ttl: 60})
		require.Equal(t, "2", p.next().Data)
		require.Equal(t, "2", w.listen(s).next().Data)
	})
}

func TestWhatASenderDoesWrongIsTold(t *testing.T) {
	inRelay(t, func(w *world) {
		s := w.subscribe()
		otherPrivate, otherPublic, err := webpush.GenerateVAPIDKeys()
		require.NoError(t, err)
		set := func(name, value string) func(*http.Request) {
			return func(r *http.Request) { r.Header.Set(name, value) }
		}
		key := func(r *http.Request) { // signed as it says, by another server
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "k="+w.public, "k="+otherPublic, 1))
		}
		body := func(change func([]byte) []byte) func(*http.Request) {
			return func(r *http.Request) {
				text, _ := io.ReadAll(r.Body)
				text = change(text)
				r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
			}
		}
		claims := func(change func(jwt.MapClaims)) func(*http.Request) {
			return set("Authorization", w.token(change))
		}
		for name, c := range map[string]struct {
			want int
			sending
		}{
			"nothing":             {201, sending{}},
			"no signature":        {401, sending{edit: func(r *http.Request) { r.Header.Del("Authorization") }}},
			"another scheme":      {401, sending{edit: set("Authorization", "Bearer x")}},
			"another signature":   {403, sending{private: otherPrivate}},
			"another server":      {403, sending{private: otherPrivate, edit: key}},
			"no token":            {403, sending{edit: set("Authorization", "vapid k="+w.public)}},
			"our own token":       {201, sending{edit: claims(func(jwt.MapClaims) {})}},
			"another audience":    {403, sending{edit: claims(func(c jwt.MapClaims) { c["aud"] = "https://fcm.googleapis.com" })}},
			"expired":             {403, sending{edit: claims(func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-time.Second).Unix() })}},
			"for more than a day": {403, sending{edit: claims(func(c jwt.MapClaims) { c["exp"] = time.Now().Add(25 * time.Hour).Unix() })}},
			"for ever":            {403, sending{edit: claims(func(c jwt.MapClaims) { delete(c, "exp") })}},
			"no contact":          {403, sending{edit: claims(func(c jwt.MapClaims) { c["sub"] = "me" })}},
			"no TTL":              {400, sending{edit: func(r *http.Request) { r.Header.Del("TTL") }}},
			"a negative TTL":      {400, sending{ttl: -1}},
			"a long topic":        {400, sending{topic: strings.Repeat("x", 33)}},
			"a topic of words":    {400, sending{topic: "a b"}},
			"another urgency":     {400, sending{edit: set("Urgency", "now")}},
			"another encoding":    {400, sending{edit: set("Content-Encoding", "aesgcm")}},
			"no encryption":       {400, sending{edit: body(func([]byte) []byte { return []byte("hello") })}},
			"another key":         {400, sending{edit: body(func(b []byte) []byte { b[len(b)-1] ^= 1; return b })}},
			"too long":            {413, sending{edit: body(func(b []byte) []byte { return append(b, 0) })}},
		} {
			c.text = name
			status, header := w.send(s, c.sending)
			require.Equal(t, c.want, status, name)
			require.Equal(t, c.want == 401, header.Get("WWW-Authenticate") == "vapid", name)
		}
		require.Equal(t, Counts{Subscriptions: 1, Accepted: 2, Refused: 19}, w.service.Counts())

		unknown := s
		unknown.Endpoint += "x"
		status, _ := w.send(unknown, sending{})
		require.Equal(t, 404, status)
		status, _ = w.do("DELETE", s.Receive, "")
		require.Equal(t, 204, status)
		status, _ = w.send(s, sending{})
		require.Equal(t, 410, status)
		status, _ = w.do("GET", s.Receive, "")
		require.Equal(t, 404, status)
		status, _ = w.do("POST", "/relay/subscriptions", `{"applicationServerKey":"BAAA"}`)
		require.Equal(t, 400, status)
		status, _ = w.do("POST", "/relay/subscriptions", `{"applicationServerKey":"`+strings.Repeat("A", maxAsked)+`"}`)
		require.Equal(t, 400, status)
	})
}

// token is a header Authorization with other claims than it should have.
func (w *world) token(change func(jwt.MapClaims)) string {
	secret, err := base64.RawURLEncoding.DecodeString(w.private)
	require.NoError(w, err)
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), secret)
	require.NoError(w, err)
	c := jwt.MapClaims{"aud": origin, "exp": time.Now().Add(time.Hour).Unix(), "sub": "https://example.com"}
	change(c)
	text, err := jwt.NewWithClaims(jwt.SigningMethodES256, c).SignedString(private)
	require.NoError(w, err)
	return "vapid t=" + text + ",k=" + w.public
}

func TestMessagesWaitForThePage(t *testing.T) {
	inRelay(t, func(w *world) {
		s := w.subscribe()
		for n := range 3 {
			w.send(s, sending{text: strconv.Itoa(n), ttl: 10 * (n + 1)})
		}
		w.send(s, sending{text: "first of the topic", ttl: 60, topic: "t"})
		w.send(s, sending{text: "second of the topic", ttl: 60, topic: "t"})
		w.send(s, sending{text: "now or never", ttl: 0})
		time.Sleep(10 * time.Second)
		p := w.listen(s)
		require.Equal(t, []string{"1", "2", "second of the topic"}, []string{p.next().Data, p.next().Data, p.next().Data})
		w.send(s, sending{text: "now", ttl: 0})
		require.Equal(t, "now", p.next().Data)
		time.Sleep(time.Minute)
		require.Zero(t, w.service.Counts().Waiting)
	})
}

func TestTooManyMessagesAreRefusedForAWhile(t *testing.T) {
	inRelay(t, func(w *world) {
		s := w.subscribe()
		for range maxWaiting {
			status, _ := w.send(s, sending{ttl: 60})
			require.Equal(t, 201, status)
		}
		status, header := w.send(s, sending{ttl: 60})
		require.Equal(t, 429, status)
		require.Equal(t, "30", header.Get("Retry-After"))
		time.Sleep(time.Minute)
		status, _ = w.send(s, sending{ttl: 60})
		require.Equal(t, 201, status)
	})
}

// One subscription too many is in the place of one that nobody listens to, whose
// sender hears of it.
func TestSubscriptionsAreBounded(t *testing.T) {
	inRelay(t, func(w *world) {
		first := w.subscribe()
		p := w.listen(first)
		second := w.subscribe()
		for range maxSubscriptions - 1 {
			w.subscribe()
		}
		require.Equal(t, maxSubscriptions, w.service.Counts().Subscriptions)
		status, _ := w.send(second, sending{ttl: 60})
		require.Equal(t, 410, status)
		w.send(first, sending{text: "still there", ttl: 60})
		require.Equal(t, "still there", p.next().Data)
		w.do("DELETE", first.Receive, "")
		for p.lines.Scan() { // to the end of the stream
			require.Empty(t, p.lines.Text())
		}
		for range maxGone {
			_, err := w.service.add(nil)
			require.NoError(t, err)
		}
		status, _ = w.send(second, sending{ttl: 60})
		require.Equal(t, 404, status, "it is not known any more that it was")
	})
}
