package realtime_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/link"
	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/realtime"
)

// A panic of user code ends no process: it is told, and the client goes on.
func TestPanics_OfUserCode(t *testing.T) {
	var once sync.Once
	boom := func() {
		first := false
		once.Do(func() { first = true })
		if first {
			panic("boom")
		}
	}
	for name, set := range map[string]func(o *realtime.Options){
		"Options.Token": func(o *realtime.Options) {
			o.Token = func(context.Context) (string, time.Time, error) { boom(); return "token", time.Time{}, nil }
		},
		"Options.HTTPClient": func(o *realtime.Options) {
			base := o.HTTPClient.Transport
			o.HTTPClient = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) { boom(); return base.RoundTrip(r) })}
		},
		"Options.Logger":  func(o *realtime.Options) { o.Logger = slogTo(func(string) { boom() }) },
		"Hooks.Connected": func(o *realtime.Options) { o.Hooks.Connected = boom },
		"Hooks.Lost":      func(o *realtime.Options) { o.Hooks.Lost = func(error) { boom() } },
		"Hooks.Failed":    func(o *realtime.Options) { o.Hooks.Failed = func(error) { boom() } },
		"Hooks.Joined":    func(o *realtime.Options) { o.Hooks.Joined = func(string) { boom() } },
		"Hooks.Live":      func(o *realtime.Options) { o.Hooks.Live = func(string) { boom() } },
		"Hooks.Gap":       func(o *realtime.Options) { o.Hooks.Gap = func(string, cdc.Gap) { boom() } },
		"Hooks.Refused":   func(o *realtime.Options) { o.Hooks.Refused = func(string, error) { boom() } },
		"Hooks.Dropped":   func(o *realtime.Options) { o.Hooks.Dropped = func(string, error) { boom() } },
	} {
		t.Run(name, func(t *testing.T) {
			once = sync.Once{}
			bubble(t, func(t *testing.T) {
				s := newScript(t)
				var log safeBuffer
				var dropped []error
				o := s.options()
				o.Logger = log.logger()
				o.Hooks.Dropped = func(_ string, err error) { dropped = append(dropped, err) }
				set(&o)
				refusals := 1
				s.refusing(func(w http.ResponseWriter, _ *http.Request) bool {
					if refusals--; refusals >= 0 {
						w.WriteHeader(503)
					}
					return refusals >= 0
				})
				c := open(t, o)
				sub := subscribe(t, c, "room")
				conn := s.accept()
				conn.joinLive()
				requireStarted(t, sub)
				conn.sendRaw(false, []byte(`[null,null,"realtime:zzz","postgres_changes",{`))
				conn.kill()
				require.True(t, sub.requireGap().Open())
				conn = s.accept()
				conn.refuseJoin(conn.expect(phoenix.EventJoin), "UnableToConnectToProject: x")
				join := conn.joinLive()
				require.False(t, sub.requireGap().Open())
				conn.insert(join, 1)
				sub.requireChange(1)
				time.Sleep(time.Minute)
				synctest.Wait() // for the hooks
				if name == "Options.Logger" {
					var p *realtime.PanicError
					require.ErrorAs(t, errors.Join(dropped...), &p)
					require.Equal(t, "boom", p.Value)
					require.NotEmpty(t, p.Stack)
				} else {
					require.Contains(t, log.String(), "panic in "+name+": boom")
				}
				closeClient(t, c)
			})
		})
	}
}

// A panic of a goroutine of this package, for whatever reason, ends its socket,
// and the client makes another.
func TestPanics_OfASocketsGoroutines(t *testing.T) {
	for name, door := range map[string]func(h *link.Handler, boom func()){
		"the reader": func(h *link.Handler, boom func()) {
			h.Receive = func(context.Context, phoenix.Message, time.Time) { boom() }
		},
		"the supervisor": func(h *link.Handler, boom func()) { h.Up = boom },
		"the supervisor ": func(h *link.Handler, boom func()) {
			h.Join = func(string) (phoenix.Message, bool) { boom(); return phoenix.Message{}, false }
		},
		"the supervisor  ": func(h *link.Handler, boom func()) { h.Down = func(time.Time, error) { boom() } },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newScript(t)
				o := s.options()
				var once sync.Once
				var told []error
				o.Hooks.Lost = func(err error) { told = append(told, err) }
				o.Hooks.Failed = o.Hooks.Lost
				c := open(t, o)
				h := link.Handler{Up: func() {}, Down: func(time.Time, error) {}, Fail: func(error) {}, Waiting: func(error) {}, Token: func(string) {},
					Receive: func(context.Context, phoenix.Message, time.Time) {}, Join: func(string) (phoenix.Message, bool) { return phoenix.Message{}, false }}
				up := h.Up
				door(&h, func() { once.Do(func() { panic("boom") }); up() })
				require.NoError(t, c.Attach("realtime:bad", h))
				conn := s.accept()
				time.Sleep(time.Second)
				c.RequestJoin("realtime:bad")
				conn.send(phoenix.Message{Topic: "realtime:bad", Event: "e"})
				time.Sleep(time.Second)
				conn.kill()
				conn = s.accept()
				time.Sleep(time.Minute)
				synctest.Wait() // for the hooks
				var p *realtime.PanicError
				require.ErrorAs(t, errors.Join(told...), &p)
				require.Equal(t, "boom", p.Value)
				if s.lastConn() != nil && s.dialed() == 2 {
					sub := subscribe(t, c, "room")
					conn.joinLive()
					requireStarted(t, sub)
				}
				closeClient(t, c)
			})
		})
	}
}
