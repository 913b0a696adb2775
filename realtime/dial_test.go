package realtime_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/realtime"
)

// What a server or a gateway answers to an upgrade shows in the errors of
// Connect and WaitLive, in Status and in the log: clean, clipped, and without the
// key. None of these is final for a client that had been connected.
func TestDial_WhatIsAnswered(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request)
		want   string
		final  bool // for a client that never was connected
	}{
		"a redirect to another host": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://evil.test"+r.URL.String(), http.StatusFound)
		}, "HTTP 302: a redirect to http://evil.test, which is not followed", false},
		"a redirect that downgrades": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://project.test:8080"+r.URL.String(), http.StatusTemporaryRedirect)
		}, "HTTP 307: a redirect to http://project.test:8080, which is not followed", false},
		"a redirect in circles": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.String(), http.StatusTemporaryRedirect)
		},
			"stopped after 10 redirects", false},
		"a redirect that no one can parse": {func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Location"] = []string{"https://captive portal.test/?back=" + r.URL.String()}
			w.WriteHeader(302)
		}, "failed to parse Location header", false},
		"a page": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.WriteHeader(404)
			_, _ = w.Write([]byte("<html>" + r.URL.String()))
		}, "HTTP 404: Not Found, with an HTML page", false},
		"a refusal": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(403)
			_, _ = w.Write([]byte(`{"error":"Tenant is suspended"}`))
		}, "HTTP 403: Tenant is suspended", true},
		"a gateway's refusal": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(404)
			_, _ = w.Write([]byte(`{"message":"no Route matched with those values"}`))
		}, "HTTP 404: no Route matched with those values", true},
		"a refusal that repeats the request": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(401)
			_, _ = w.Write([]byte(`{"error":"no route ` + r.URL.String() + `\n\u001b[31mforged ` + strings.Repeat("x", 500) + `"}`))
		}, "HTTP 401: no route", true},
	} {
		t.Run(name, func(t *testing.T) {
			require := require.New(t)
			clean := func(text string) {
				require.Contains(text, c.want)
				require.NotContains(text, anonKey)
				require.NotContains(text, "\x1b")
				require.Less(len(text), 700)
			}
			bubble(t, func(t *testing.T) {
				s := newScript(t)
				var log safeBuffer
				o := s.options()
				o.Logger = log.logger()
				failed := make(chan error, 1000)
				o.Hooks.Failed = func(err error) { failed <- err }
				s.refusing(func(w http.ResponseWriter, r *http.Request) bool { c.answer(w, r); return true })
				client := open(t, o)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				ch, err := client.Channel("room")
				require.NoError(err)
				err = ch.WaitLive(ctx)
				require.Equal(c.final, ctx.Err() == nil)
				require.Equal(c.final, realtime.IsPermanent(err))
				clean(err.Error())
				clean(ch.Status().Reason.Error())
				if !c.final {
					clean(client.Connect(ctx).Error())
				}
				clean((<-failed).Error())
				require.NotContains(log.String(), anonKey)
			})
			bubble(t, func(t *testing.T) { // a client that had been connected survives a minute of it
				s := newScript(t)
				o := s.options()
				failed := make(chan error, 1000)
				o.Hooks.Failed = func(err error) { failed <- err }
				client := open(t, o)
				sub := subscribe(t, client, "room")
				conn := s.accept()
				conn.joinLive()
				requireStarted(t, sub)
				s.refusing(func(w http.ResponseWriter, r *http.Request) bool { c.answer(w, r); return true })
				conn.kill()
				require.True(sub.requireGap().Open())
				time.Sleep(time.Minute)
				err := <-failed
				require.False(realtime.IsPermanent(err), "an answer that was survived is not permanent")
				clean(err.Error())
				clean(sub.ch.Status().Reason.Error())
				s.refusing(nil)
				s.accept().joinLive()
				require.False(sub.requireGap().Open())
			})
		})
	}
}

// A refusal that persists ends what had worked, with FailFast the first one.
func TestDial_RefusalsThatPersist(t *testing.T) {
	for _, failFast := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			s := newScript(t)
			o := s.options()
			o.FailFast = failFast
			c := open(t, o)
			sub := subscribe(t, c, "room")
			conn := s.accept()
			conn.joinLive()
			requireStarted(t, sub)
			s.refusing(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(401); return true })
			began := time.Now()
			conn.kill()
			require.True(t, sub.requireGap().Open())
			err := sub.requireEnd()
			require.True(t, realtime.IsPermanent(err))
			var refused *realtime.ConnectError
			require.ErrorAs(t, err, &refused)
			if failFast {
				require.Less(t, time.Since(began), 10*time.Second)
			} else {
				require.WithinRange(t, time.Now(), began.Add(3*time.Minute), began.Add(5*time.Minute))
			}
		})
	}
}

// A clock that is more than an hour off, in either direction, makes no token
// expire, and no expired one be used.
func TestToken_ByTheClockOfTheServer(t *testing.T) {
	for _, ahead := range []time.Duration{-70 * time.Minute, 0, 70 * time.Minute} {
		bubble(t, func(t *testing.T) {
			s := newScript(t)
			dated := func(w http.ResponseWriter, r *http.Request) bool {
				w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
				return false
			}
			s.refusing(dated)
			var calls, life atomic.Int64
			sign := func(life time.Duration) string {
				token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"exp": time.Now().Add(ahead + life).Unix(), "n": calls.Load()}).SignedString([]byte("x"))
				require.NoError(t, err)
				return token
			}
			life.Store(int64(time.Hour))
			o := s.options()
			o.Token = func(context.Context) (string, time.Time, error) {
				calls.Add(1)
				return sign(time.Duration(life.Load())), time.Time{}, nil
			}
			c := open(t, o)
			sub := subscribe(t, c, "room")
			conn := s.accept()
			conn.joinLive()
			requireStarted(t, sub)
			require.EqualValues(t, 1, calls.Load())
			time.Sleep(54 * time.Minute)
			require.EqualValues(t, 1, calls.Load())
			time.Sleep(2 * time.Minute)
			require.EqualValues(t, 2, calls.Load(), "five minutes ahead of the expiry")
			conn.expect(phoenix.EventAccessToken)
			life.Store(int64(-time.Minute)) // by the server's clock
			time.Sleep(2 * time.Hour)
			_, err := c.Token(t.Context())
			require.ErrorIs(t, err, realtime.ErrTokenExpired)
		})
	}
}
