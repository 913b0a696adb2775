package mockserver_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
)

// session is what the Auth API answers to a sign-in, as clients read it.
type session struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int    `json:"expires_in"`
	ExpiresAt    int64  `json:"expires_at"`
	User         struct {
		ID          string         `json:"id"`
		Aud         string         `json:"aud"`
		Role        string         `json:"role"`
		Email       string         `json:"email"`
		Phone       string         `json:"phone"`
		AppMetadata map[string]any `json:"app_metadata"`
		CreatedAt   time.Time      `json:"created_at"`
		ConfirmedAt time.Time      `json:"confirmed_at"`
	} `json:"user"`
}

// auth makes a request to the Auth API. bearer may be empty.
func auth(t testing.TB, s *mockserver.Server, method, path, bearer, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, s.URL()+"/auth/v1/"+path, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("apikey", s.AnonKey())
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	answer, err := s.HTTPClient().Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(b)
}

func sessionOf(t testing.TB, status int, body string) session {
	t.Helper()
	require.Equal(t, 200, status, body)
	var got session
	require.NoError(t, json.Unmarshal([]byte(body), &got))
	return got
}

func signIn(t testing.TB, s *mockserver.Server) session {
	t.Helper()
	status, body := auth(t, s, "POST", "token?grant_type=password", "", `{"email":"Ann@example.com","password":"pass word"}`)
	return sessionOf(t, status, body)
}

func refresh(t testing.TB, s *mockserver.Server, token string) (int, string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"refresh_token": token})
	require.NoError(t, err)
	return auth(t, s, "POST", "token?grant_type=refresh_token", "", string(body))
}

func claimsOf(t testing.TB, token string) jwt.MapClaims {
	t.Helper()
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return []byte(mockserver.DefaultSecret), nil })
	require.NoError(t, err)
	return claims
}

// grantError is the answer of the token endpoint in its old and new words.
func grantError(code, message string) string {
	b, _ := json.Marshal(map[string]any{"code": 400, "error_code": code, "msg": message, "error": "invalid_grant", "error_description": message})
	return string(b)
}

func TestSignIn(t *testing.T) {
	cfg := restConfig()
	cfg.TokenLifetime = 90 * time.Second
	s := mockserver.Start(t, cfg)
	before := time.Now().Unix()
	got := signIn(t, s)
	require.Equal(t, "bearer", got.TokenType)
	require.Equal(t, 90, got.ExpiresIn)
	require.InDelta(t, before+90, got.ExpiresAt, 2)
	require.Equal(t, annID, got.User.ID)
	require.Equal(t, "authenticated", got.User.Role)
	require.Equal(t, "authenticated", got.User.Aud)
	require.Equal(t, "ann@example.com", got.User.Email)
	require.Equal(t, map[string]any{"provider": "email", "providers": []any{"email"}}, got.User.AppMetadata)
	require.NotZero(t, got.User.ConfirmedAt)
	claims := claimsOf(t, got.AccessToken)
	for claim, want := range map[string]any{"sub": annID, "role": "authenticated", "aud": "authenticated", "email": "ann@example.com", "phone": "", "exp": float64(got.ExpiresAt)} {
		require.Equal(t, want, claims[claim], claim)
	}
	require.NotEmpty(t, claims["session_id"])
	require.NotEqual(t, got.AccessToken, signIn(t, s).AccessToken, "within a second, too")

	status, body := auth(t, s, "POST", "token?grant_type=password", "", `{"phone":"+4711","password":"p2"}`)
	byPhone := sessionOf(t, status, body)
	require.Equal(t, benID, byPhone.User.ID)
	require.Equal(t, map[string]any{"team": "red"}, claimsOf(t, byPhone.AccessToken)["app_metadata"])
	restCall{path: "notes?select=id", header: "Authorization: Bearer " + byPhone.AccessToken, want: `[{"id":2}]`}.check(t, s)
}

func TestSignInIsRefused(t *testing.T) {
	s := mockserver.Start(t, restConfig())
	wrong := grantError("invalid_credentials", "Invalid login credentials")
	for _, c := range []struct {
		name, query, body string
		status            int
		want              string
	}{
		{"wrong password", "?grant_type=password", `{"email":"ann@example.com","password":"pass"}`, 400, wrong},
		{"unknown user", "?grant_type=password", `{"email":"eve@example.com","password":"pass word"}`, 400, wrong},
		{"nobody", "?grant_type=password", `{}`, 400, wrong},
		{"unknown refresh token", "?grant_type=refresh_token", `{"refresh_token":"nope"}`, 400, grantError("refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found")},
		{"another grant", "?grant_type=pkce", `{}`, 400, `{"code":400,"error_code":"validation_failed","msg":"unsupported_grant_type"}`},
		{"no JSON", "?grant_type=password", `{`, 400, `{"code":400,"error_code":"bad_json","msg":"Could not parse request body as JSON"}`},
		{"too large", "?grant_type=password", `{"email":"` + strings.Repeat("x", 8<<20) + `"}`, 413, `{"code":413,"error_code":"request_too_large","msg":"Payload too large"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, body := auth(t, s, "POST", "token"+c.query, "", c.body)
			require.Equal(t, c.status, status)
			require.JSONEq(t, c.want, body)
		})
	}
	answer, err := s.HTTPClient().Post(s.URL()+"/auth/v1/token?grant_type=password", "application/json", strings.NewReader("{}"))
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusUnauthorized, answer.StatusCode, "without an API key")
}

func TestRefreshTokensRotate(t *testing.T) {
	s := mockserver.Start(t, restConfig())
	first := signIn(t, s)
	status, body := refresh(t, s, first.RefreshToken)
	second := sessionOf(t, status, body)
	require.NotEqual(t, first.AccessToken, second.AccessToken)
	require.NotEqual(t, first.RefreshToken, second.RefreshToken)
	require.Equal(t, claimsOf(t, first.AccessToken)["session_id"], claimsOf(t, second.AccessToken)["session_id"])
	status, body = refresh(t, s, second.RefreshToken[:len(second.RefreshToken)-2]+"AA")
	require.Equal(t, 400, status, "a token that was made up")
	require.JSONEq(t, grantError("refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found"), body)
	status, body = refresh(t, s, second.RefreshToken)
	sessionOf(t, status, body)
}

// Whoever uses one refresh token at once gets the same next one.
func TestRefreshToken_AtOnce(t *testing.T) {
	s := mockserver.Start(t, restConfig())
	token := signIn(t, s).RefreshToken
	var wg sync.WaitGroup
	got := make(chan string, 8)
	for range cap(got) {
		wg.Go(func() {
			status, body := refresh(t, s, token)
			got <- sessionOf(t, status, body).RefreshToken
		})
	}
	wg.Wait()
	close(got)
	next := map[string]bool{}
	for token := range got {
		next[token] = true
	}
	require.Len(t, next, 1)
}

// As Auth does it: the token before the good one gets the good one, whenever it
// comes; an older one is good for ten seconds after its use.
func TestRefreshToken_Reuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := restConfig()
		cfg.InMemory = true
		s := mockserver.Start(t, cfg)
		next := func(token string) string {
			status, body := refresh(t, s, token)
			return sessionOf(t, status, body).RefreshToken
		}
		used := func(token string) {
			status, body := refresh(t, s, token)
			require.Equal(t, 400, status)
			require.JSONEq(t, grantError("refresh_token_already_used", "Invalid Refresh Token: Already Used"), body)
		}
		first := signIn(t, s).RefreshToken
		second := next(first)
		time.Sleep(time.Hour)
		require.Equal(t, second, next(first))
		third := next(second)
		used(first)
		require.Equal(t, third, next(second))
		fourth := next(third)
		fifth := next(second)
		require.NotEqual(t, fourth, fifth)
		require.Equal(t, fifth, next(fourth))
		time.Sleep(11 * time.Second)
		used(second)
		used(third)
		require.NotEqual(t, fifth, next(fifth))
	})
}

func TestUserAndLogout(t *testing.T) {
	s := mockserver.Start(t, restConfig())
	one, two := signIn(t, s), signIn(t, s)
	status, body := auth(t, s, "GET", "user", one.AccessToken, "")
	require.Equal(t, 200, status, body)
	require.Contains(t, body, `"email":"ann@example.com"`)

	status, body = auth(t, s, "POST", "logout?scope=others", one.AccessToken, "")
	require.Equal(t, 204, status)
	require.Empty(t, body)
	status, body = auth(t, s, "GET", "user", two.AccessToken, "")
	require.Equal(t, 403, status)
	require.Contains(t, body, "session_not_found")
	status, _ = refresh(t, s, two.RefreshToken)
	require.Equal(t, 400, status)

	three := signIn(t, s)
	status, _ = auth(t, s, "POST", "logout?scope=local", one.AccessToken, "")
	require.Equal(t, 204, status)
	status, body = refresh(t, s, three.RefreshToken)
	three = sessionOf(t, status, body)
	status, _ = auth(t, s, "POST", "logout", three.AccessToken, "")
	require.Equal(t, 204, status)
	status, _ = refresh(t, s, three.RefreshToken)
	require.Equal(t, 400, status)

	status, body = auth(t, s, "GET", "user", s.UserToken(benID, time.Hour), "")
	require.Equal(t, 200, status, "a token that nobody signed in for")
	require.Contains(t, body, benID)
	for bearer, want := range map[string]string{
		"": "no_authorization", "nope": "bad_jwt", s.UserToken("33333333-3333-4333-8333-333333333333", time.Hour): "user_not_found", s.UserToken(annID, -time.Hour): "bad_jwt",
	} {
		status, body = auth(t, s, "GET", "user", bearer, "")
		require.Contains(t, []int{401, 403}, status)
		require.Contains(t, body, want)
		require.NotContains(t, body, bearer+"x")
	}
	status, body = auth(t, s, "GET", "health", "", "")
	require.Equal(t, 200, status)
	require.Contains(t, body, "GoTrue")
	status, _ = auth(t, s, "OPTIONS", "token", "", "")
	require.Equal(t, 200, status)
	status, _ = auth(t, s, "POST", "signup", "", "{}")
	require.Equal(t, 404, status)
}

func TestAccessTokensExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := restConfig()
		cfg.TokenLifetime = time.Minute
		s := mockserver.Start(t, cfg)
		got := signIn(t, s)
		c := restCall{path: "notes?select=id", header: "Authorization: Bearer " + got.AccessToken, want: `[{"id":1},{"id":3}]`}
		time.Sleep(59 * time.Second)
		c.check(t, s)
		time.Sleep(time.Second)
		c.status, c.want = 401, "*"
		c.check(t, s)
		status, body := refresh(t, s, got.RefreshToken)
		sessionOf(t, status, body)
	})
}

// Keys, tokens and passwords stay out of the log.
func TestNoSecretsInTheLog(t *testing.T) {
	var log bytes.Buffer
	cfg := restConfig()
	cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := mockserver.New(cfg)
	require.NoError(t, err)
	got := signIn(t, s)
	_, _ = auth(t, s, "POST", "token?grant_type=password", "", `{"email":"ann@example.com","password":"pass-wrong"}`)
	_, _ = auth(t, s, "GET", "user?apikey="+s.ServiceKey(), got.AccessToken, "")
	restCall{path: "nope?apikey=" + s.AnonKey(), header: "Authorization: Bearer " + got.AccessToken, status: 404, want: "*"}.check(t, s)
	require.NoError(t, s.Close())
	require.Contains(t, log.String(), "PGRST205")
	for _, secret := range []string{"pass", got.AccessToken, got.RefreshToken, s.AnonKey(), s.ServiceKey(), mockserver.DefaultSecret} {
		require.NotContains(t, log.String(), secret)
	}
}
