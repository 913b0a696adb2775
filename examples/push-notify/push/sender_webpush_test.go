package push

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/SherClockHolmes/webpush-go"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
)

var b64 = base64.RawURLEncoding

// browser is the receiving end: its keys, as a PushSubscription has them.
type browser struct {
	private *ecdh.PrivateKey
	auth    []byte
}

func newBrowser(t *testing.T) browser {
	private, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	auth := make([]byte, 16)
	_, _ = rand.Read(auth)
	return browser{private, auth}
}

func (b browser) address(endpoint string) string {
	text, _ := json.Marshal(map[string]any{"endpoint": endpoint, "keys": map[string]string{
		"p256dh": b64.EncodeToString(b.private.PublicKey().Bytes()), "auth": b64.EncodeToString(b.auth)}})
	return string(text)
}

// open decrypts a body as RFC 8291 says.
func (b browser) open(t *testing.T, body []byte) []byte {
	salt, sender, sealed := body[:16], body[21:21+65], body[21+65:]
	public, err := ecdh.P256().NewPublicKey(sender)
	require.NoError(t, err)
	shared, err := b.private.ECDH(public)
	require.NoError(t, err)
	info := "WebPush: info\x00" + string(b.private.PublicKey().Bytes()) + string(sender)
	ikm, err := hkdf.Key(sha256.New, shared, b.auth, info, 32)
	require.NoError(t, err)
	key, err := hkdf.Key(sha256.New, ikm, salt, "Content-Encoding: aes128gcm\x00", 16)
	require.NoError(t, err)
	nonce, err := hkdf.Key(sha256.New, ikm, salt, "Content-Encoding: nonce\x00", 12)
	require.NoError(t, err)
	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	gcm, err := cipher.NewGCM(block)
	require.NoError(t, err)
	plain, err := gcm.Open(nil, nonce, sealed, nil)
	require.NoError(t, err)
	return []byte(strings.TrimRight(string(plain), "\x00\x02"))
}

// vapid verifies the header Authorization as RFC 8292 says.
func vapid(t *testing.T, header, public string) jwt.MapClaims {
	raw, err := b64.DecodeString(strings.TrimRight(public, "="))
	require.NoError(t, err)
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), raw)
	require.NoError(t, err)
	token, _, _ := strings.Cut(strings.TrimPrefix(header, "vapid t="), ",")
	claims := jwt.MapClaims{}
	_, err = jwt.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return key, nil }, jwt.WithValidMethods([]string{"ES256"}))
	require.NoError(t, err)
	return claims
}

func TestWebPushIsSignedAndEncrypted(t *testing.T) {
	private, public, err := webpush.GenerateVAPIDKeys()
	require.NoError(t, err)
	status := http.StatusCreated
	var got *http.Request
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(status)
	}))
	defer server.Close()
	defer server.Client().CloseIdleConnections()
	b := newBrowser(t)
	s := &WebPush{PublicKey: public, PrivateKey: private, Contact: "ops@example.com", Client: server.Client()}
	d := Device{Address: b.address(server.URL + "/push/secret")}
	n := Notification{Key: "event-7", Title: "Order 7", Body: "Ann, it is here.", Expires: time.Now().Add(time.Minute).UTC().Round(0)}
	require.NoError(t, s.Send(t.Context(), d, n))

	var read Notification
	require.NoError(t, json.Unmarshal(b.open(t, body), &read))
	require.Equal(t, n, read)
	claims := vapid(t, got.Header.Get("Authorization"), public)
	require.Equal(t, server.URL, claims["aud"])
	require.Equal(t, "mailto:ops@example.com", claims["sub"])
	require.Regexp(t, `^[\w-]{1,32}$`, got.Header.Get("Topic"), "as RFC 8030 has it")
	ttl, err := strconv.Atoi(got.Header.Get("TTL"))
	require.NoError(t, err)
	require.InDelta(t, 59, ttl, 2)

	for code, want := range map[int]error{404: ErrGone, 410: ErrGone, 400: ErrRefused, 413: ErrRefused} {
		status = code
		require.ErrorIs(t, s.Send(t.Context(), d, n), want, code)
	}
	status = 503
	require.NotErrorIs(t, s.Send(t.Context(), d, n), ErrRefused)
	for name, address := range map[string]string{
		"nothing": "{}", "no JSON": "x", "another curve": strings.Replace(d.Address, `"p256dh":"B`, `"p256dh":"A`, 1),
		"no secret": strings.Replace(d.Address, b64.EncodeToString(b.auth), "", 1), "no URL": b.address("file:///push"),
	} {
		require.ErrorIs(t, s.Send(t.Context(), Device{Address: address}, n), ErrRefused, name)
	}
	long := n
	long.Body = strings.Repeat("x", 4096)
	require.ErrorIs(t, s.Send(t.Context(), d, long), ErrRefused)
	server.Close()
	err = s.Send(t.Context(), d, n)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "secret")
}
