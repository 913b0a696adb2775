package mockserver_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
)

func TestC67Algorithms(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	edPublic, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	secret := []byte(mockserver.DefaultSecret)
	cfg := mockserver.Config{Keys: []mockserver.VerificationKey{
		{ID: "rsa", Key: &rsaKey.PublicKey}, {ID: "ec", Key: &ecKey.PublicKey}, {ID: "ed", Key: edPublic},
	}}
	const badSigner = "Failed to generate JWT signer, check your JWT secret or JWKS configuration"
	wrongKey := func(kid string) string {
		return `Failed to generate JWT signer for key ID (kid) "` + kid + `", check your JWT secret or JWKS configuration`
	}
	bubble(t, cfg, func(t *testing.T, s *mockserver.Server) {
		for _, c := range []struct {
			method jwt.SigningMethod
			key    any
			header map[string]any
			want   string // empty: accepted
		}{
			{jwt.SigningMethodHS256, secret, nil, ""},
			{jwt.SigningMethodHS384, secret, map[string]any{"kid": "unknown"}, ""},
			{jwt.SigningMethodHS512, secret, nil, ""},
			{jwt.SigningMethodHS256, secret[1:], nil, "Failed to validate JWT signature"},
			{jwt.SigningMethodRS256, rsaKey, map[string]any{"kid": "rsa"}, ""},
			{jwt.SigningMethodRS512, rsaKey, map[string]any{"kid": "rsa"}, ""},
			{jwt.SigningMethodRS256, rsaKey, nil, badSigner},
			{jwt.SigningMethodRS256, rsaKey, map[string]any{"kid": "other"}, wrongKey("other")},
			{jwt.SigningMethodRS256, rsaKey, map[string]any{"kid": "ec"}, wrongKey("ec")},
			{jwt.SigningMethodPS256, rsaKey, map[string]any{"kid": "rsa"}, wrongKey("rsa")},
			{jwt.SigningMethodES256, ecKey, map[string]any{"kid": "ec"}, ""},
			{jwt.SigningMethodEdDSA, edKey, map[string]any{"kid": "ed"}, ""},
			{jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil, badSigner},
			{jwt.SigningMethodHS256, secret, map[string]any{"typ": "else"}, badSigner},
		} {
			token := jwt.NewWithClaims(c.method, jwt.MapClaims{"role": "anon", "exp": 4102444800})
			for k, v := range c.header {
				token.Header[k] = v
			}
			signed, err := token.SignedString(c.key)
			require.NoError(t, err)
			sock, refused := dialSocket(t, s, "?vsn=2.0.0", map[string][]string{"X-Api-Key": {signed}})
			if c.want == "" {
				require.Nil(t, refused, "%s %v", c.method.Alg(), c.header)
				sock.kill()
				continue
			}
			require.NotNil(t, refused, "%s %v", c.method.Alg(), c.header)
			require.Equal(t, 401, refused.StatusCode)
			require.JSONEq(t, string(mustJSON(t, map[string]string{"error": c.want})), body(t, refused))
		}
	})
}

func TestC67Claims(t *testing.T) {
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		now := time.Now().Unix()
		for _, c := range []struct {
			claims mockserver.Claims
			want   string // of the system message; empty: accepted
		}{
			{mockserver.Claims{"role": "anon", "exp": now + 60}, ""},
			{mockserver.Claims{"role": "anon", "exp": now + 60, "iat": now}, ""},
			{mockserver.Claims{"role": 5, "exp": float64(now) + 60.4}, ""},
			{mockserver.Claims{"role": "anon", "exp": float64(now) + 0.4}, "Token has expired 0 seconds ago"},
			{mockserver.Claims{"role": "anon", "exp": now}, "Token has expired 0 seconds ago"},
			{mockserver.Claims{"exp": now - 7}, "Token has expired 7 seconds ago"},
			{mockserver.Claims{"exp": now + 60}, "Fields `role` and `exp` are required in JWT"},
			{mockserver.Claims{"role": "anon"}, "Fields `role` and `exp` are required in JWT"},
			{mockserver.Claims{"role": "anon", "exp": "never"}, "Token expiration time is invalid"},
			{mockserver.Claims{"role": "anon", "exp": now + 60, "iat": "then"}, "The token provided is not a valid JWT"},
		} {
			sock := open(t, s, phoenix.V2)
			sock.join(1, "realtime:a", `{}`, "")
			sock.next()
			sock.send(1, 2, "realtime:a", "access_token", string(mustJSON(t, map[string]string{"access_token": s.Sign(c.claims)})))
			if c.want == "" {
				sock.silent(0)
			} else {
				require.JSONEq(t, string(mustJSON(t, map[string]string{"extension": "system", "status": "error", "message": c.want, "channel": "a"})), sock.next().Payload)
				require.Equal(t, "phx_close", sock.next().Event)
			}
			sock.kill()
		}
		foreign := other(t).Sign(mockserver.Claims{"role": "anon", "exp": now + 60})
		sock := open(t, s, phoenix.V2)
		sock.join(1, "realtime:a", `{}`, "")
		sock.next()
		sock.send(1, 2, "realtime:a", "access_token", `{"access_token":"`+foreign+`"}`)
		require.Contains(t, sock.next().Payload, `"message":":signature_error"`)

		spaced := s.AnonKey()[:20] + " \n\t" + s.AnonKey()[20:]
		sock.join(3, "realtime:b", `{}`, spaced)
		require.Equal(t, "phx_close", sock.next().Event)
		require.Contains(t, sock.next().Payload, `"ok"`, "whitespace counts for nothing")
	})
}

// C68: which tokens are ignored, and what a good one does.
func TestC68AccessToken(t *testing.T) {
	table := orders
	table.RLS = true
	table.Select = func(claims mockserver.Claims, row mockserver.Row) bool { return row["status"] == claims["sub"] }
	bothVersions(t, mockserver.Config{Tables: []mockserver.Table{table}}, func(t *testing.T, s *mockserver.Server, v phoenix.Version) {
		c := open(t, s, v)
		mine := s.UserToken("me", time.Hour)
		c.subscribed(1, "realtime:a", ordersBinding, mine)
		push := func(payload string) { c.send(1, 2, "realtime:a", "access_token", payload) }
		for _, ignored := range []string{`{"access_token":null}`, `{"access_token":5}`, `{}`, `null`, `"x"`, `{"access_token":"sb_secret_x"}`, `{"access_token":"` + mine + `"}`} {
			push(ignored)
		}
		c.silent(10 * time.Second)

		push(`{"access_token":"` + s.UserToken("them", time.Hour) + `"}`)
		before := time.Now()
		require.NoError(t, s.Insert("orders", mockserver.Row{"id": 1, "status": "me"}, mockserver.Row{"id": 2, "status": "them"}))
		got, _ := c.change()
		require.Contains(t, string(got.Data.Record), `"me"`, "the old claims are in force")
		require.Contains(t, c.next().Payload, phoenix.MessageSubscribed)
		require.GreaterOrEqual(t, time.Since(before), time.Second)
		require.LessOrEqual(t, time.Since(before), 3*time.Second)
		require.NoError(t, s.Insert("orders", mockserver.Row{"id": 3, "status": "me"}, mockserver.Row{"id": 4, "status": "them"}))
		got, _ = c.change()
		require.Contains(t, string(got.Data.Record), `"them"`)
		c.silent(10 * time.Second)

		push(`{"access_token":"` + mine + ` "}`)  // another string, the same token
		push(`{"access_token":"` + mine + `  "}`) // and another, which makes the server wait anew
		require.Contains(t, c.next().Payload, phoenix.MessageSubscribed)
		c.silent(10 * time.Second)
		c.join(5, "realtime:none", `{}`, "")
		c.next()
		c.send(5, 6, "realtime:none", "access_token", `{"access_token":"`+mine+`"}`)
		c.silent(10 * time.Second) // without bindings there is nothing to subscribe to
	})
}

// A token whose role cannot subscribe leaves the old subscriptions in force.
func TestFailedResubscriptionKeepsTheOldClaims(t *testing.T) {
	table := orders
	table.Grants = map[string][]string{"authenticated": {"*"}, "anon": {"id"}}
	bubble(t, mockserver.Config{Tables: []mockserver.Table{table}}, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.subscribed(1, "realtime:a", `[{"schema":"public","table":"orders","filter":"status=eq.x"}]`, s.UserToken("u", time.Hour))
		c.send(1, 2, "realtime:a", "access_token", `{"access_token":"`+s.AnonKey()+`"}`)
		require.Contains(t, c.next().Payload, "invalid column for filter status")
		require.NoError(t, s.Insert("orders", mockserver.Row{"id": 1, "status": "x"}))
		got, _ := c.change()
		require.Contains(t, string(got.Data.Record), `"status":"x"`)
		c.silent(time.Minute / 2)
	})
}

// A private channel is left by a token that may not read it.
func TestTokenWithoutPermissionClosesThePrivateChannel(t *testing.T) {
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.join(1, "realtime:room", `{"private":true}`, s.UserToken("u", time.Hour))
		c.next()
		c.send(1, 2, "realtime:room", "access_token", `{"access_token":"`+s.AnonKey()+`"}`)
		require.Contains(t, c.next().Payload, "You do not have permissions to read from this Channel topic: room")
		require.Equal(t, "phx_close", c.next().Event)
	})
}

// A policy is asked about roles that exist only.
func TestUnknownRolesMayNotUsePrivateChannels(t *testing.T) {
	everybody := func(string, mockserver.Claims) bool { return true }
	bubble(t, mockserver.Config{Channels: everybody}, func(t *testing.T, s *mockserver.Server) {
		c := open(t, s, phoenix.V2)
		c.join(1, "realtime:a", `{"private":true}`, "")
		require.Contains(t, c.next().Payload, `"ok"`)
		c.join(2, "realtime:b", `{"private":true}`, s.Sign(mockserver.Claims{"role": "nobody", "exp": 4102444800}))
		require.Contains(t, c.next().Payload, "Unauthorized")
	})
}

// C69: an expired channel is closed at exp; the socket stays.
func TestC69Expiry(t *testing.T) {
	bothVersions(t, withOrders, func(t *testing.T, s *mockserver.Server, v phoenix.Version) {
		began := time.Now()
		c := open(t, s, v)
		c.subscribed(1, "realtime:a", ordersBinding, s.UserToken("u", 30*time.Second))
		c.subscribed(2, "realtime:b", ordersBinding, s.UserToken("u", 30*time.Second))
		c.send(2, 3, "realtime:b", "access_token", `{"access_token":"`+s.UserToken("u", 40*time.Second)+`"}`)
		c.next() // Subscribed again
		for _, want := range []struct {
			topic string
			after time.Duration
		}{{"realtime:a", 30 * time.Second}, {"realtime:b", 40 * time.Second}} {
			m := c.take(time.Minute)
			require.Contains(t, string(m.raw), want.topic)
			require.Contains(t, string(m.raw), "Token has expired 0 seconds ago")
			require.Equal(t, began.Add(want.after).Truncate(time.Second), m.at)
			require.Equal(t, "phx_close", c.next().Event)
		}
		c.join(4, "realtime:c", "", "")
		require.Contains(t, c.next().Payload, `"ok"`)
	})
}

// A join without a token falls back to that of the connection, expired or not.
func TestConnectionTokenExpires(t *testing.T) {
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		c, refused := dialSocket(t, s, "?vsn=2.0.0&apikey="+s.UserToken("u", 10*time.Second), nil)
		require.Nil(t, refused)
		c.join(1, "realtime:a", `{"private":true}`, "")
		require.Contains(t, c.next().Payload, `"ok"`)
		require.Contains(t, c.next().Payload, "Token has expired 0 seconds ago")
		require.Equal(t, "phx_close", c.next().Event)
		c.join(2, "realtime:a", `{}`, "")
		require.Contains(t, c.next().Payload, "InvalidJWTToken: Token has expired 0 seconds ago")
		c.join(3, "realtime:a", `{}`, s.AnonKey())
		require.Contains(t, c.next().Payload, `"ok"`)
	})
}

// The token of a join has two names, and sb_ keys count for nothing.
func TestJoinTokens(t *testing.T) {
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		user := s.UserToken("u", time.Hour)
		for payload, private := range map[string]bool{
			`{"user_token":"USER"}`:                              true,
			`{"user_token":"USER","access_token":"garbage"}`:     true,
			`{"user_token":5,"access_token":"USER"}`:             true,
			`{"access_token":"USER"}`:                            true,
			`{"access_token":null,"user_token":"USER"}`:          true,
			`{"access_token":"sb_publishable_x"}`:                false,
			`{"access_token":"sb_x","user_token":"USER"}`:        false,
			`{"access_token":["USER"]}`:                          false,
			`{}`:                                                 false,
			`{"access_token":null,"user_token":"sb_anything_x"}`: false,
		} {
			c := open(t, s, phoenix.V2)
			payload = strings.Replace(payload, "{", `{"config":{"private":true},`, 1)
			payload = strings.Replace(strings.ReplaceAll(payload, "USER", user), ",}", "}", 1)
			c.send(1, 1, "realtime:a", "phx_join", payload)
			if m := c.next(); private {
				require.Contains(t, m.Payload, `"ok"`, payload)
			} else {
				require.Contains(t, m.Payload, "Unauthorized", payload)
			}
			c.kill()
		}
		c := open(t, s, phoenix.V2)
		c.join(1, "realtime:a", `{}`, " ")
		require.Contains(t, c.next().Payload, "MalformedJWT: ", "an empty token is one, too")
	})
}

// No text that the server sends holds a token.
func TestTokensAreNotRepeated(t *testing.T) {
	bubble(t, mockserver.Config{}, func(t *testing.T, s *mockserver.Server) {
		signature := s.UserToken("u", time.Hour)
		signature = signature[:len(signature)-6] + "AAAAAA"
		c := open(t, s, phoenix.V2)
		c.join(1, "realtime:a", `{}`, signature)
		require.NotContains(t, c.next().Payload, "AAAAAA")
		_, refused := dialSocket(t, s, "?apikey="+signature, nil)
		require.NotContains(t, body(t, refused), "AAAAAA")
	})
}
