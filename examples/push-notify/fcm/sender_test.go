package fcm_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/api/option"

	"github.com/gapless-go/gapless/enrich"
	"github.com/gapless-go/gapless/enrich/deliver"
	"github.com/gapless-go/gapless/examples/push-notify/fcm"
	"github.com/gapless-go/gapless/examples/push-notify/push"
)

func TestMain(m *testing.M) {
	// Of a dependency of the SDK, for as long as the process lives.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

const token = "a-device-s-secret-token"

// service is FCM, as far as a test has it: it answers as it is told.
type service struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	header http.Header
	body   string
	got    []map[string]any
	paths  []string
}

func newService(t *testing.T) *service {
	s := &service{}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	s.answer(200, `{"name":"projects/shop/messages/1"}`)
	return s
}

func (s *service) answer(status int, body string, header ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.body, s.header, s.got = status, body, http.Header{"Content-Type": {"application/json"}}, nil
	for i := 0; i < len(header); i += 2 {
		s.header.Set(header[i], header[i+1])
	}
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	s.got, s.paths = append(s.got, body), append(s.paths, r.URL.Path)
	for k := range s.header {
		w.Header().Set(k, s.header.Get(k))
	}
	w.WriteHeader(s.status)
	_, _ = io.WriteString(w, s.body)
}

func (s *service) sender(t *testing.T, opts ...option.ClientOption) *fcm.Sender {
	t.Helper()
	client := s.Client()
	t.Cleanup(client.CloseIdleConnections)
	opts = append([]option.ClientOption{option.WithEndpoint(s.URL), option.WithHTTPClient(client)}, opts...)
	sender, err := fcm.New(t.Context(), "shop", opts...)
	require.NoError(t, err)
	return sender
}

func notification() push.Notification {
	at := time.Now().Truncate(time.Second)
	return push.Notification{Key: "event-7", Title: "Order 7", Body: "Ann, it is here.", At: at, Expires: at.Add(time.Minute)}
}

// failure is an answer of FCM's, with a code of its own if that is not empty.
func failure(message, status, code string) string {
	details := []any{}
	if code != "" {
		details = append(details, map[string]any{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code})
	}
	text, _ := json.Marshal(map[string]any{"error": map[string]any{"message": message + " " + token, "status": status, "details": details}})
	return string(text)
}

func TestAMessageHasAllOfANotification(t *testing.T) {
	s := newService(t)
	n := notification()
	require.NoError(t, s.sender(t).Send(t.Context(), push.Device{Address: token}, n))
	require.Equal(t, []string{"/projects/shop/messages:send"}, s.paths)
	m := s.got[0]["message"].(map[string]any)
	require.Equal(t, token, m["token"])
	require.Equal(t, map[string]any{"title": n.Title, "body": n.Body}, m["notification"])
	require.Equal(t, map[string]any{"key": n.Key, "at": n.At.UTC().Format(time.RFC3339), "expires": n.Expires.UTC().Format(time.RFC3339)}, m["data"])
	android := m["android"].(map[string]any)
	require.Equal(t, "high", android["priority"])
	require.Equal(t, map[string]any{"tag": n.Key}, android["notification"])
	require.NotContains(t, android, "collapse_key")
	ttl, err := time.ParseDuration(android["ttl"].(string))
	require.NoError(t, err)
	require.InDelta(t, 59, ttl.Seconds(), 2)
	require.Equal(t, map[string]any{"apns-priority": "10", "apns-expiration": fmt.Sprint(n.Expires.Unix()), "apns-collapse-id": n.Key},
		m["apns"].(map[string]any)["headers"])
	web := m["webpush"].(map[string]any)
	require.Equal(t, map[string]any{"tag": n.Key}, web["notification"])
	require.Equal(t, "high", web["headers"].(map[string]any)["Urgency"])

	n.Expires = time.Now().Add(365 * 24 * time.Hour)
	require.NoError(t, s.sender(t).Send(t.Context(), push.Device{Address: token}, n))
	require.Equal(t, "2419200s", s.got[1]["message"].(map[string]any)["android"].(map[string]any)["ttl"], "FCM refuses more than 28 days")
}

func TestWhatCannotBeSentIsNotSent(t *testing.T) {
	s := newService(t)
	sender := s.sender(t)
	late := notification()
	late.Expires = time.Now().Add(-time.Second)
	require.ErrorIs(t, sender.Send(t.Context(), push.Device{Address: token}, late), push.ErrRefused)
	require.ErrorIs(t, sender.Send(t.Context(), push.Device{}, notification()), push.ErrRefused)
	require.Empty(t, s.got)
}

func TestAnswersAreJudged(t *testing.T) {
	s := newService(t)
	sender := s.sender(t)
	violation := func(field string) string {
		return `{"error":{"message":"Request contains an invalid argument.","status":"INVALID_ARGUMENT","details":[
			{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"INVALID_ARGUMENT"},
			{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"` + field + `","description":"` + token + `"}]}]}}`
	}
	for name, c := range map[string]struct {
		status int
		body   string
		gone   bool
		buried bool // else it is tried again
		text   string
	}{
		"unregistered":          {404, failure("Requested entity was not found.", "NOT_FOUND", "UNREGISTERED"), true, false, "UNREGISTERED"},
		"no token":              {400, failure("The registration token is not a valid FCM registration token", "INVALID_ARGUMENT", "INVALID_ARGUMENT"), true, false, "INVALID_ARGUMENT"},
		"no token, by field":    {400, violation("message.token"), true, false, "INVALID_ARGUMENT"},
		"another argument":      {400, violation("message.data"), false, true, "INVALID_ARGUMENT"},
		"another sender's":      {403, failure("SenderId mismatch", "PERMISSION_DENIED", "SENDER_ID_MISMATCH"), false, true, "SENDER_ID_MISMATCH"},
		"too large":             {413, "<html>" + token, false, true, "an error without a code"},
		"quota":                 {429, failure("Quota exceeded", "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"), false, false, "QUOTA_EXCEEDED"},
		"internal":              {500, failure("Internal error", "INTERNAL", "INTERNAL"), false, false, "INTERNAL"},
		"another server's":      {502, token, false, false, "an error without a code"},
		"no rights":             {403, failure("Permission denied", "PERMISSION_DENIED", ""), false, false, "PERMISSION_DENIED"},
		"no credentials":        {401, failure("Request had invalid authentication credentials", "UNAUTHENTICATED", ""), false, false, "UNAUTHENTICATED"},
		"Apple's certificate":   {401, failure("Auth error from APNS", "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"), false, false, "THIRD_PARTY_AUTH_ERROR"},
		"no such project":       {404, failure("Requested entity was not found.", "NOT_FOUND", ""), false, false, "NOT_FOUND"},
		"a code that is a text": {400, failure("", "Bad "+token, ""), false, true, "an error without a code"},
	} {
		t.Run(name, func(t *testing.T) {
			s.answer(c.status, c.body)
			err := sender.Send(t.Context(), push.Device{Address: token}, notification())
			require.ErrorContains(t, err, "fcm: "+c.text)
			require.Equal(t, c.gone, is(err, push.ErrGone), "%v", err)
			require.Equal(t, c.buried, is(err, push.ErrRefused), "%v", err)
			require.NotContains(t, err.Error(), token)
			require.Len(t, s.got, 1)
		})
	}
}

func is(err, target error) bool { return errors.Is(err, target) }

// tries is how often a Consumer tries to send something within a time.
func tries(t *testing.T, s *service, within time.Duration) int {
	sender := s.sender(t)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	c := deliver.Consumer[int, deliver.None]{
		Store: deliver.NewMemory(1), Key: func(int) string { return "" },
		Retry: deliver.Retry{Attempts: 1000, Min: time.Millisecond, Max: time.Millisecond},
		Handle: func(ctx context.Context, _ deliver.None, _ int) error {
			return sender.Send(ctx, push.Device{Address: token}, notification())
		},
	}
	require.ErrorIs(t, c.Run(ctx, enrich.Of(1)), context.DeadlineExceeded)
	return len(s.got)
}

// Whoever says when to come again is not asked before.
func TestRetryAfterIsKept(t *testing.T) {
	s := newService(t)
	quota := failure("Quota exceeded", "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
	s.answer(429, quota)
	require.Greater(t, tries(t, s, 300*time.Millisecond), 5)
	for _, header := range []string{"30", time.Now().Add(30 * time.Second).UTC().Format(http.TimeFormat)} {
		s.answer(429, quota, "Retry-After", header)
		require.Equal(t, 1, tries(t, s, 300*time.Millisecond), header)
		s.answer(503, failure("", "UNAVAILABLE", "UNAVAILABLE"), "Retry-After", header)
		require.Equal(t, 1, tries(t, s, 300*time.Millisecond), header)
	}
}

// The SDK waits within the Send for a server that is away, and the end of ctx
// loses nothing of what the server said.
func TestUnavailableIsTriedAgain(t *testing.T) {
	s := newService(t)
	s.answer(503, failure("", "UNAVAILABLE", "UNAVAILABLE"))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := s.sender(t).Send(ctx, push.Device{Address: token}, notification())
	require.ErrorContains(t, err, "503")
	require.False(t, is(err, push.ErrGone) || is(err, push.ErrRefused))
	require.Len(t, s.got, 2, "once more, at once")

	s.Close()
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err = s.sender(t).Send(ctx, push.Device{Address: token}, notification())
	require.ErrorContains(t, err, "no answer")
	require.False(t, is(err, push.ErrGone) || is(err, push.ErrRefused))
	require.NotContains(t, err.Error(), token)
}

// Credentials that are refused are in no error, though the server that refuses
// them repeats what it was given.
func TestNoSecretReachesAnError(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	secret := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
	var assertion string
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assertion = r.FormValue("assertion")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(400)
		fmt.Fprintf(w, `{"error":"invalid_grant","error_description":%q}`, assertion)
	}))
	defer refuses.Close()
	credentials, err := json.Marshal(map[string]string{"type": "service_account", "project_id": "shop", "private_key_id": "key-id",
		"private_key": secret, "client_email": "x@example.com", "client_id": "1", "token_uri": refuses.URL})
	require.NoError(t, err)
	s := newService(t)
	sender, err := fcm.New(t.Context(), "", option.WithEndpoint(s.URL), option.WithCredentialsJSON(credentials))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	err = sender.Send(ctx, push.Device{Address: token}, notification())
	require.ErrorContains(t, err, "fcm: no answer: there is no access token: the server answered 400")
	require.False(t, is(err, push.ErrGone) || is(err, push.ErrRefused))
	require.NotEmpty(t, assertion)
	for _, secret := range []string{assertion, token, "PRIVATE", secret} {
		require.NotContains(t, err.Error(), secret)
	}
	require.Empty(t, s.got)

	bad := strings.Replace(string(credentials), `"type"`, `"type`, 1)
	_, err = fcm.New(t.Context(), "shop", option.WithCredentialsJSON([]byte(bad)))
	require.Error(t, err)
	require.NotContains(t, err.Error(), "PRIVATE")
}
