package signin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/rescue"
	"github.com/gapless-go/gapless/realtime"
	"github.com/gapless-go/gapless/realtime/signin"
)

const key = "sb_publishable_SECRET"

// account is a source whose requests are answered by f.
func account(t *testing.T, o signin.Options, f func(r *http.Request, body map[string]string) (*http.Response, error)) *signin.Source {
	t.Helper()
	o.URL, o.Key = "https://ref.test/", key
	o.HTTPClient = &http.Client{Transport: &watched{answer: func(r *http.Request) (*http.Response, error) {
		var body map[string]string
		require.NoError(t, json.NewDecoder(r.Body).Decode(&body))
		return f(r, body)
	}}}
	return source(t, o)
}

func said(status int, kind, body string, header ...string) *http.Response {
	h := http.Header{"Content-Type": {kind}}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

func granted(n int) *http.Response {
	return said(200, "application/json", fmt.Sprintf(`{"access_token":"a%d","refresh_token":"r%d","expires_in":3600}`, n, n))
}

const page = "<html>what stands here is nobody's business</html>"

func TestRequest_IsWhatSupabaseAuthTakes(t *testing.T) {
	s := account(t, signin.Options{Email: "a@b.c", Password: password, Header: http.Header{"X-Tenant": {"t"}, "Apikey": {"no"}}},
		func(r *http.Request, body map[string]string) (*http.Response, error) {
			require.Equal(t, "https://ref.test/auth/v1/token?grant_type=password", r.URL.String())
			require.Equal(t, map[string]string{"email": "a@b.c", "password": password}, body)
			require.Equal(t, http.Header{"Apikey": {key}, "X-Tenant": {"t"}, "Content-Type": {"application/json"}}, r.Header)
			return granted(1), nil
		})
	token, _, err := s.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "a1", token)
}

// A session that has worked outlives every answer that is not Supabase Auth's
// own refusal, until there has been nothing else for minutes.
func TestToken_AGatewaysAnswerDoesNotEndASession(t *testing.T) {
	for _, status := range []int{302, 307, 308, 400, 401, 403, 404, 405, 410, 422} {
		for _, c := range []struct{ kind, body string }{
			{"text/html", page}, {"application/json", `{"message":"no Route matched with those values"}`}, {"application/json", `{"error":"forbidden"}`},
			{"application/json", `{"code":422,"error_code":"hook_timeout","msg":"x"}`}, {"text/plain", ""},
		} {
			synctest.Test(t, func(t *testing.T) {
				away := false
				s := account(t, signin.Options{Email: "a@b.c", Password: password}, func(_ *http.Request, body map[string]string) (*http.Response, error) {
					if away {
						return said(status, c.kind, c.body, "Location", "https://elsewhere.test/"), nil
					}
					if body["refresh_token"] != "" {
						require.Equal(t, "r1", body["refresh_token"])
						return granted(2), nil
					}
					return granted(1), nil
				})
				_, _, err := s.Token(t.Context())
				require.NoError(t, err)
				away = true
				for range 4 {
					_, _, err = s.Token(t.Context())
					require.Error(t, err)
					require.False(t, realtime.IsPermanent(err), "%d %s: %v", status, c.body, err)
					require.NotContains(t, err.Error(), "business")
					time.Sleep(time.Minute)
				}
				away = false
				_, _, err = s.Token(t.Context())
				require.NoError(t, err, "the session has outlived it")
				away = true
				for range 5 {
					time.Sleep(time.Minute)
					_, _, err = s.Token(t.Context())
				}
				require.True(t, realtime.IsPermanent(err), "it persists")
			})
		}
	}
}

func TestToken_WhatNeverWorkedIsRefusedAtOnce(t *testing.T) {
	for _, worked := range []bool{false, true} {
		s := account(t, signin.Options{Email: "a@b.c", Password: password, FailFast: worked}, func(_ *http.Request, body map[string]string) (*http.Response, error) {
			if worked && body["refresh_token"] == "" {
				return granted(1), nil
			}
			return said(404, "text/html", page), nil
		})
		if worked {
			_, _, err := s.Token(t.Context())
			require.NoError(t, err)
			_, _, err = s.Token(t.Context())
			require.NoError(t, err, "it signs in")
			continue
		}
		_, _, err := s.Token(t.Context())
		require.EqualError(t, err, "signin: HTTP 404: an HTML page in the place of an answer: check Options.URL")
		require.True(t, realtime.IsPermanent(err))
	}
}

// The forms in which versions of Supabase Auth refuse.
func TestToken_SupabaseAuthsOwnRefusalIsFinal(t *testing.T) {
	for _, body := range []string{
		`{"code":400,"error_code":"refresh_token_not_found","msg":"Invalid Refresh Token: Refresh Token Not Found"}`,
		`{"code":"refresh_token_already_used","message":"Invalid Refresh Token: Already Used"}`,
		`{"error":"invalid_grant","error_description":"Invalid Refresh Token"}`,
		`{"code":403,"error_code":"user_banned","msg":"User is banned"}`,
		`{"code":403,"error_code":"session_not_found","msg":"Session from session_id claim in JWT does not exist"}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			over := false
			answer := func(_ *http.Request, body2 map[string]string) (*http.Response, error) {
				if over && body2["refresh_token"] != "" {
					return said(400, "application/json", body), nil
				}
				return granted(1), nil
			}
			s := account(t, signin.Options{RefreshToken: "r0"}, answer)
			_, _, err := s.Token(t.Context())
			require.NoError(t, err)
			over = true
			_, _, err = s.Token(t.Context())
			require.ErrorContains(t, err, "signin: the session is over, sign in again: HTTP 400: ")
			require.True(t, realtime.IsPermanent(err))

			over = false
			s = account(t, signin.Options{Email: "a@b.c", Password: password}, answer)
			_, _, err = s.Token(t.Context())
			require.NoError(t, err)
			over = true
			_, _, err = s.Token(t.Context())
			require.NoError(t, err, "with a password it signs in")
		})
	}
}

// The answer to a refresh is lost: Supabase Auth takes the token before the
// session's newest again.
func TestToken_ALostAnswerDoesNotBurnTheSession(t *testing.T) {
	newest, lose := 0, true
	s := account(t, signin.Options{RefreshToken: "r0"}, func(_ *http.Request, body map[string]string) (*http.Response, error) {
		switch body["refresh_token"] {
		case fmt.Sprint("r", newest):
			newest++
		case fmt.Sprint("r", newest-1):
		default:
			return said(400, "application/json", `{"code":400,"error_code":"refresh_token_already_used","msg":"Already Used"}`), nil
		}
		if lose {
			return nil, io.ErrUnexpectedEOF
		}
		return granted(newest), nil
	})
	for range 3 {
		_, _, err := s.Token(t.Context())
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.False(t, realtime.IsPermanent(err))
	}
	lose = false
	for n := 1; n < 4; n++ {
		token, _, err := s.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint("a", n), token)
	}
}

// endless is a body without an end.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	e.read += len(p)
	return len(p), nil
}

func (e *endless) Close() error { return nil }

func TestToken_ReadsAnswersWithinABound(t *testing.T) {
	for status, limit := range map[int]int{200: 1 << 20, 500: 64 << 10, 400: 64 << 10} {
		body := &endless{}
		s := account(t, signin.Options{Email: "a@b.c", Password: password}, func(*http.Request, map[string]string) (*http.Response, error) {
			return &http.Response{StatusCode: status, Body: body}, nil
		})
		_, _, err := s.Token(t.Context())
		require.Error(t, err)
		require.Less(t, len(err.Error()), 400)
		require.LessOrEqual(t, body.read, limit+1)
	}
}

// A transport's body ends with its request's context; so does that of this one.
func TestToken_AnAnswerThatDripsEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := account(t, signin.Options{Email: "a@b.c", Password: password}, func(r *http.Request, _ map[string]string) (*http.Response, error) {
			read, write := io.Pipe()
			context.AfterFunc(r.Context(), func() { _ = write.CloseWithError(r.Context().Err()) })
			go func() {
				for {
					if _, err := write.Write([]byte(" ")); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			}()
			return &http.Response{StatusCode: 200, Body: read}, nil
		})
		began := time.Now()
		_, _, err := s.Token(context.Background())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 30*time.Second, time.Since(began))
		time.Sleep(time.Second) // the writer sees the end
	})
}

func TestToken_RedirectsStayWithinTheOrigin(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, to := range []string{"https://evil.test/auth/v1/token", "http://ref.test/auth/v1/token", "//sub.ref.test/", "https://ref.test:444/"} {
			n := 0
			s := account(t, signin.Options{Email: "a@b.c", Password: password}, func(*http.Request, map[string]string) (*http.Response, error) {
				n++
				return said(status, "text/html", page, "Location", to), nil
			})
			_, _, err := s.Token(t.Context())
			require.ErrorContains(t, err, "a redirect to another origin is not followed")
			require.Equal(t, 1, n, "%d %s", status, to)
		}
	}
}

func TestToken_ErrorsAreOneLineWithoutSecrets(t *testing.T) {
	const refresh = "refresh SECRET\" \\ %20"
	for name, answer := range map[string]func(r *http.Request, body map[string]string) (*http.Response, error){
		"echo": func(r *http.Request, body map[string]string) (*http.Response, error) {
			whole, _ := json.Marshal(body)
			text, _ := json.Marshal(string(whole) + "\n\x1b[31m" + r.Header.Get("apikey") + r.Header.Get("X-Gateway"))
			return said(400, "application/json", `{"error":"invalid_grant","error_description":`+string(text)+`}`), nil
		},
		"location": func(r *http.Request, body map[string]string) (*http.Response, error) {
			return said(302, "text/html", "", "Location", "http://a b/?back="+body["refresh_token"]+body["password"]+r.Header.Get("apikey")), nil
		},
		"network": func(r *http.Request, body map[string]string) (*http.Response, error) {
			return nil, fmt.Errorf("%v\n%v: %w", r.Header, body, io.ErrClosedPipe)
		},
		"panic": func(r *http.Request, body map[string]string) (*http.Response, error) {
			panic(fmt.Sprint(r.Header, body))
		},
		"long": func(*http.Request, map[string]string) (*http.Response, error) {
			return said(400, "application/json", `{"msg":"`+strings.Repeat("x\\n", 20_000)+`"}`), nil
		},
	} {
		for _, o := range []signin.Options{{Email: "a@b.c", Password: "password SECRET\"&+"}, {RefreshToken: refresh}} {
			o.Header = http.Header{"X-Gateway": {"gateway SECRET"}}
			_, _, err := account(t, o, answer).Token(t.Context())
			require.Error(t, err)
			require.NotContains(t, err.Error(), "SECRET", name)
			require.NotContains(t, err.Error(), "\n", name)
			require.NotContains(t, err.Error(), "\x1b", name)
			require.Less(t, len(err.Error()), 500, name)
			require.Equal(t, 1, strings.Count(err.Error(), "signin: "), name)
			switch name {
			case "network":
				require.ErrorIs(t, err, io.ErrClosedPipe)
			case "panic":
				var p *rescue.Error
				require.True(t, errors.As(err, &p))
			}
		}
	}
}

func TestToken_ExpiryWhateverTheAnswerSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for says, want := range map[string]time.Duration{
			"3600": time.Hour, "0.5": time.Second / 2, "-1000": -time.Second, "1e18": 10 * 365 * 24 * time.Hour, "1e300": 10 * 365 * 24 * time.Hour,
		} {
			s := account(t, signin.Options{Email: "a@b.c", Password: password}, func(*http.Request, map[string]string) (*http.Response, error) {
				return said(200, "application/json", `{"access_token":"a","refresh_token":"r","expires_in":`+says+`}`), nil
			})
			_, expiry, err := s.Token(t.Context())
			require.NoError(t, err)
			require.Equal(t, want, time.Until(expiry), says)
		}
		s := account(t, signin.Options{Email: "a@b.c", Password: password}, func(*http.Request, map[string]string) (*http.Response, error) {
			return said(200, "application/json", `{"access_token":"a"}`), nil
		})
		_, expiry, err := s.Token(t.Context())
		require.NoError(t, err)
		require.Zero(t, expiry)
	})
}
