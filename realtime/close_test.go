package realtime_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/realtime"
)

// Whatever holds up a client, and though its peer answers nothing, Close returns
// when its context ends, at that moment, and has cut the connection.
func TestClose_EndsWithItsContextInEveryState(t *testing.T) {
	type state struct {
		options func(o *realtime.Options, release <-chan struct{})
		reach   func(t *testing.T, s *script, c *realtime.Client)
		at      time.Duration // when Close returns, if not when its context ends
	}
	connected := func(t *testing.T, s *script, c *realtime.Client) {
		require.NoError(t, c.Connect(t.Context()))
		conn := s.accept()
		conn.silence()
	}
	const limit = 3 * time.Second
	for name, st := range map[string]state{
		"never connected": {at: time.Nanosecond},
		"waiting to try again": {at: time.Nanosecond,
			options: func(o *realtime.Options, _ <-chan struct{}) { o.ReconnectMin, o.ReconnectMax = time.Hour, time.Hour },
			reach: func(t *testing.T, s *script, c *realtime.Client) {
				s.refusing(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(503); return true })
				go func() { _ = c.Connect(t.Context()) }()
			}},
		"a dial under way": {at: time.Nanosecond,
			options: func(o *realtime.Options, release <-chan struct{}) {
				o.HTTPClient = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					select { // net/http lets a dial go on that its request does not wait for
					case <-ctx.Done():
					case <-release:
					}
					return nil, net.ErrClosed
				}}}
			},
			reach: func(t *testing.T, _ *script, c *realtime.Client) { go func() { _ = c.Connect(t.Context()) }() }},
		"a dial that ignores its context": {
			options: func(o *realtime.Options, release <-chan struct{}) {
				o.HTTPClient = &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
					<-release
					return nil, net.ErrClosed
				})}
			},
			reach: func(t *testing.T, _ *script, c *realtime.Client) { go func() { _ = c.Connect(t.Context()) }() }},
		"connected": {reach: connected},
		"a token source that ignores its context": {
			options: func(o *realtime.Options, release <-chan struct{}) {
				o.Token = func(context.Context) (string, time.Time, error) { <-release; return "t", time.Time{}, nil }
			},
			reach: func(t *testing.T, _ *script, c *realtime.Client) { go func() { _, _ = c.Token(t.Context()) }() }},
		"joining": {reach: func(t *testing.T, s *script, c *realtime.Client) {
			subscribe(t, c, "room")
			conn := s.accept()
			conn.expect(phoenix.EventJoin)
			conn.silence()
		}},
		"live, with a reader that a consumer blocks": {reach: func(t *testing.T, s *script, c *realtime.Client) {
			ch, err := c.Channel("room", channel.WithQueue(channel.Queue{Changes: 1, Full: channel.Block}))
			require.NoError(t, err)
			_, err = ch.Subscribe(channel.Binding{Table: "orders"})
			require.NoError(t, err)
			go func() { _ = ch.WaitLive(t.Context()) }()
			conn := s.accept()
			join := conn.joinLive()
			go func() {
				for n := range 10 {
					conn.insert(join, n)
				}
			}()
			conn.silence()
		}},
		"a hook that blocks": {at: time.Nanosecond, // it is not waited for, as it may be what calls Close
			options: func(o *realtime.Options, release <-chan struct{}) {
				o.Hooks.Failed = func(error) { <-release }
			},
			reach: func(t *testing.T, s *script, c *realtime.Client) {
				s.refusing(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(503); return true })
				go func() { _ = c.Connect(t.Context()) }()
			}},
		"a hook that blocks from then on": {
			options: func(o *realtime.Options, release <-chan struct{}) {
				o.Logger = slogTo(func(text string) {
					if text == "left" {
						<-release
					}
				})
			},
			reach: func(t *testing.T, s *script, c *realtime.Client) {
				subscribe(t, c, "room")
				s.accept().joinLive()
			}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newScript(t)
				release := make(chan struct{})
				o := s.options()
				if st.options != nil {
					st.options(&o, release)
				}
				c, err := realtime.New(o)
				require.NoError(t, err)
				if st.reach != nil {
					st.reach(t, s, c)
				}
				time.Sleep(time.Second)
				ctx, cancel := context.WithTimeout(context.Background(), limit)
				defer cancel()
				began := time.Now()
				err = c.Close(ctx)
				if st.at > 0 {
					require.NoError(t, err)
					require.Less(t, time.Since(began), limit)
				} else {
					require.ErrorIs(t, err, context.DeadlineExceeded)
					require.Equal(t, limit, time.Since(began))
				}
				require.ErrorIs(t, c.Connect(context.Background()), realtime.ErrClosed)
				if conn := s.lastConn(); conn != nil {
					synctest.Wait()
					soon, cancel := context.WithTimeout(context.Background(), time.Second)
					defer cancel()
					require.Error(t, conn.ws.Write(soon, websocket.MessageText, []byte("x")), "the connection has not been cut")
					conn.resume()
					select {
					case <-conn.gone:
					case <-time.After(time.Minute):
						require.Fail(t, "the connection has not been cut")
					}
				}
				close(release)
				time.Sleep(time.Minute) // and nothing is left, or the bubble fails
			})
		})
	}
}

// A hook may call every method of the client, Close and Connect included.
func TestHooks_MayCallTheClient(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		var c *realtime.Client
		back, closed := make(chan error, 1), make(chan error, 1)
		o := s.options()
		o.Hooks.Lost = func(error) { back <- c.Connect(context.Background()) }
		o.Hooks.Joined = func(string) { closed <- c.Close(context.Background()) }
		c = open(t, o)
		require.NoError(t, c.Connect(t.Context()))
		s.accept().kill()
		conn := s.accept()
		require.NoError(t, <-back)
		sub := subscribe(t, c, "room")
		conn.acceptJoin(conn.expect(phoenix.EventJoin))
		require.NoError(t, <-closed)
		require.ErrorIs(t, sub.requireEnd(), realtime.ErrClosed)
	})
}

// A hook that takes long holds up no socket; what there is no room for is
// counted.
func TestHooks_EventsThatWaitAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		release := make(chan struct{})
		var dropped []string
		o := s.options()
		o.Hooks.Connected = func() { <-release }
		o.Hooks.Dropped = func(_ string, err error) { dropped = append(dropped, err.Error()) }
		c := open(t, o)
		sub := subscribe(t, c, "room")
		conn := s.accept()
		join := conn.joinLive()
		requireStarted(t, sub)
		for range 3000 {
			conn.sendRaw(false, []byte(`[null,null,"realtime:zzz","postgres_changes",{`))
		}
		conn.insert(join, 1)
		sub.requireChange(1)
		close(release)
		synctest.Wait() // for the hooks
		require.InDelta(t, 1024, len(dropped), 10)
		require.Regexp(t, `\d+ events were not logged`, dropped[len(dropped)-1])
		closeClient(t, c)
	})
}

// The peer's answer to the close frame is waited for, as far as Close's context
// allows.
func TestClose_CutsAPeerThatDoesNotAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, s.options())
		require.NoError(t, c.Connect(t.Context()))
		s.accept().silence()
		began := time.Now()
		require.NoError(t, c.Close(context.Background()))
		require.LessOrEqual(t, time.Since(began), 10*time.Second)
	})
}

// silence makes the server answer nothing and, from the next heartbeat on, read
// nothing. It returns when that has come.
func (c *conn) silence() {
	c.setMute(true)
	c.resumed = c.stopReading()
	time.Sleep(26 * time.Second)
}

func (c *conn) resume() {
	if c.resumed != nil {
		c.resumed()
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// slogTo returns a logger that hands over the text of every record.
func slogTo(f func(text string)) *slog.Logger { return slog.New(handler(f)) }

type handler func(text string)

func (h handler) Enabled(context.Context, slog.Level) bool { return true }
func (h handler) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h handler) WithGroup(string) slog.Handler            { return h }
func (h handler) Handle(_ context.Context, r slog.Record) error {
	h(r.Message)
	return nil
}
