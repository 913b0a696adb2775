package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/realtime"
)

func TestNewChecksItsOptions(t *testing.T) {
	good := realtime.Options{URL: "https://ref.supabase.co", Key: "k"}
	for name, c := range map[string]struct {
		change func(*realtime.Options)
		want   string
	}{
		"no key":              {func(o *realtime.Options) { o.Key = " " }, "Key is empty"},
		"no URL":              {func(o *realtime.Options) { o.URL = "" }, `scheme ""`},
		"scheme":              {func(o *realtime.Options) { o.URL = "ftp://x" }, `scheme "ftp"`},
		"no host":             {func(o *realtime.Options) { o.URL = "https:///x" }, "without a host"},
		"user":                {func(o *realtime.Options) { o.URL = "https://u:p@x" }, "with a user"},
		"unparsable":          {func(o *realtime.Options) { o.URL = "https://x/%zz?apikey=secret" }, "cannot be parsed"},
		"vsn":                 {func(o *realtime.Options) { o.ProtocolVersion = "3.0.0" }, `ProtocolVersion "3.0.0"`},
		"negative duration":   {func(o *realtime.Options) { o.JoinTimeout = -1 }, "JoinTimeout is negative"},
		"backoff":             {func(o *realtime.Options) { o.ReconnectMin = time.Hour }, "ReconnectMax is less"},
		"heartbeat":           {func(o *realtime.Options) { o.Heartbeat = time.Minute }, "every 30 s"},
		"read limit":          {func(o *realtime.Options) { o.ReadLimit = 32768 }, "16 MiB"},
		"negative sendbuffer": {func(o *realtime.Options) { o.SendBuffer = -1 }, "SendBuffer"},
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			c.change(&o)
			_, err := realtime.New(o)
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "secret")
		})
	}
	_, err := realtime.New(good)
	require.NoError(t, err)
}

func TestEveryFormOfURL(t *testing.T) {
	for url, want := range map[string]string{
		"http://project.test":                       "/realtime/v1/websocket",
		"http://project.test/":                      "/realtime/v1/websocket",
		"ws://project.test/realtime/v1":             "/realtime/v1/websocket",
		"ws://project.test/realtime/v1/websocket":   "/realtime/v1/websocket",
		"ws://project.test:4000/socket":             "/socket/websocket",
		"ws://project.test:4000/socket/websocket":   "/socket/websocket",
		"http://project.test/stack?log_level=info":  "/stack/realtime/v1/websocket",
		"http://project.test/stack/?apikey=another": "/stack/realtime/v1/websocket",
	} {
		t.Run(url, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newScript(t)
				o := s.options()
				o.URL = url
				c := open(t, o)
				require.NoError(t, c.Connect(t.Context()))
				s.accept()
				r := s.dials[0]
				require.Equal(t, want, r.URL.Path)
				require.Equal(t, []string{anonKey}, r.URL.Query()["apikey"])
				require.Equal(t, []string{"2.0.0"}, r.URL.Query()["vsn"])
				require.Equal(t, strings.Contains(url, "log_level"), r.URL.Query().Has("log_level"))
				require.Empty(t, r.Header.Get("Sec-Websocket-Extensions"), "no compression is offered")
			})
		})
	}
}

func TestVsn1IsAskedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		o := s.options()
		o.ProtocolVersion = "1.0.0"
		o.Header = http.Header{"X-Trace": {"7"}}
		c := open(t, o)
		require.NoError(t, c.Connect(t.Context()))
		s.accept()
		require.Equal(t, "1.0.0", s.dials[0].URL.Query().Get("vsn"))
		require.Equal(t, "7", s.dials[0].Header.Get("X-Trace"))
	})
}

// Nothing connects before somebody wants it, and Close leaves nothing behind
// even if nothing ever did.
func TestNothingHappensOnDemandOnly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, s.options())
		time.Sleep(time.Hour)
		require.Zero(t, s.dialed())
		closeClient(t, c)
		require.ErrorIs(t, c.Connect(t.Context()), realtime.ErrClosed)
		ch, err := c.Channel("room")
		require.NoError(t, err)
		require.ErrorIs(t, ch.WaitLive(t.Context()), realtime.ErrClosed)
	})
}

// C9: refusals at the upgrade that need the caller end what waits for them;
// others are tried again, for ever.
func TestC9PermanentRefusals(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404} {
		bubble(t, func(t *testing.T) {
			s := newScript(t)
			s.refusing(func(w http.ResponseWriter, r *http.Request) bool {
				w.WriteHeader(status)
				_, _ = w.Write([]byte(`{"error":"Token has expired"}`))
				return true
			})
			c := open(t, s.options())
			ch, err := c.Channel("room", channel.Private())
			require.NoError(t, err)
			for _, err := range []error{c.Connect(t.Context()), ch.WaitLive(t.Context())} {
				var refused *realtime.ConnectError
				require.ErrorAs(t, err, &refused)
				require.Equal(t, status, refused.Status)
				require.Equal(t, "Token has expired", refused.Reason)
				require.True(t, realtime.IsPermanent(err))
				require.NotContains(t, err.Error(), anonKey)
			}
			require.Equal(t, channel.Closed, ch.Status().State)
			before := s.dialed()
			time.Sleep(time.Hour)
			require.Equal(t, before, s.dialed(), "nobody wants a socket any more")
			for range 3 {
				require.Error(t, c.Connect(t.Context()), "a new call tries again")
			}
			s.refusing(nil)
			require.NoError(t, c.Connect(t.Context()))
		})
	}
}

func TestC9PassingRefusalsAreTriedAgain(t *testing.T) {
	for _, status := range []int{429, 500, 502, 503} {
		bubble(t, func(t *testing.T) {
			s := newScript(t)
			s.refusing(func(w http.ResponseWriter, r *http.Request) bool {
				if s.dialed() == 20 {
					return false
				}
				w.WriteHeader(status)
				return true
			})
			c := open(t, s.options())
			began := time.Now()
			require.NoError(t, c.Connect(t.Context()))
			require.Equal(t, 20, s.dialed())
			require.Greater(t, time.Since(began), time.Minute, "with growing waits")
			require.Less(t, time.Since(began), 10*time.Minute, "at most 30 s each")
		})
	}
}

func TestConnectEndsWithItsContextAndSaysWhy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		_ = s.ln.Close()
		c := open(t, s.options())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := c.Connect(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "dial")
		require.NotContains(t, err.Error(), anonKey)
	})
}

func TestADialThatHangsIsGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		hang := make(chan struct{})
		s.refusing(func(w http.ResponseWriter, r *http.Request) bool {
			if s.dialed() > 2 {
				return false
			}
			select {
			case <-hang:
			case <-r.Context().Done():
			}
			return true
		})
		defer close(hang)
		c := open(t, s.options())
		began := time.Now()
		require.NoError(t, c.Connect(t.Context()))
		require.Equal(t, 3, s.dialed())
		require.GreaterOrEqual(t, time.Since(began), 40*time.Second)
	})
}

// C9: any close that this side did not ask for, whatever its code.
func TestC9ReconnectsAfterEveryClose(t *testing.T) {
	for name, end := range map[string]func(*conn){
		"1000": func(c *conn) { c.shut(1000) },
		"1001": func(c *conn) { c.shut(1001) },
		"1009": func(c *conn) { c.shut(1009) },
		"1011": func(c *conn) { c.shut(1011) },
		"1012": func(c *conn) { c.shut(1012) },
		"1006": func(c *conn) { c.kill() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newScript(t)
				var lost []error
				o := s.options()
				o.Hooks.Lost = func(err error) { lost = append(lost, err) }
				c := open(t, o)
				sub := subscribe(t, c, "room")
				first := s.accept()
				join := first.joinLive()
				requireStarted(t, sub)
				first.insert(join, 1)
				sub.requireChange(1)
				read := time.Now()
				time.Sleep(5 * time.Second)
				end(first)
				gap := sub.requireGap()
				require.True(t, gap.Open())
				require.Equal(t, read, gap.Since, "whole as long as something came")
				second := s.accept()
				join = second.joinLive()
				closed := sub.requireGap()
				require.False(t, closed.Open())
				require.Equal(t, gap.Since, closed.Since)
				second.insert(join, 2)
				sub.requireChange(2)
				synctest.Wait()
				require.Len(t, lost, 1)
				if name != "1006" {
					require.Equal(t, name, json.Number(errCode(lost[0])).String())
				}
			})
		})
	}
}

func errCode(err error) string {
	code, _ := json.Marshal(int(websocket.CloseStatus(err)))
	return string(code)
}

func TestReconnectsForEverWithJitter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, s.options())
		ch, err := c.Channel("room")
		require.NoError(t, err)
		live := make(chan error, 1)
		go func() { live <- ch.WaitLive(t.Context()) }()
		var waits []time.Duration
		last := time.Now()
		for range 200 {
			s.accept().kill()
			waits = append(waits, time.Since(last))
			last = time.Now()
		}
		var long, short int
		for _, w := range waits[10:] {
			require.LessOrEqual(t, w, 31*time.Second)
			if w > 20*time.Second {
				long++
			}
			if w < 10*time.Second {
				short++
			}
		}
		require.Greater(t, long, 20, "waits are spread over the whole range")
		require.Greater(t, short, 20)
		s.accept().joinLive()
		require.NoError(t, <-live)
	})
}

// A gateway that answers oddly while a project restarts does not end a client
// that was connected; one that goes on refusing does.
func TestARefusalInBetweenIsTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, s.options())
		sub := subscribe(t, c, "room")
		s.accept().joinLive()
		requireStarted(t, sub)
		var refusals int
		s.refusing(func(w http.ResponseWriter, r *http.Request) bool {
			refusals++
			if refusals > 2 {
				return false
			}
			w.WriteHeader(404)
			return true
		})
		s.lastConn().kill()
		sub.requireGap()
		s.accept().joinLive()
		require.False(t, sub.requireGap().Open())
		refusals = -100
		s.lastConn().kill()
		sub.requireGap()
		err := sub.requireEnd()
		var refused *realtime.ConnectError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, 404, refused.Status)
	})
}

// C8: heartbeats at most every 30 s, and a socket that does not answer is dead.
func TestC8HeartbeatFindsADeadSocket(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, s.options())
		sub := subscribe(t, c, "room")
		conn := s.accept()
		conn.joinLive()
		requireStarted(t, sub)
		time.Sleep(time.Hour)
		require.InDelta(t, 3600/25, conn.beats(), 2)
		conn.setMute(true) // a zombie: it takes frames and never answers
		began := time.Now()
		gap := sub.requireGap()
		require.LessOrEqual(t, time.Since(began), 41*time.Second)
		require.ErrorIs(t, gap.Err, realtime.ErrHeartbeatTimeout)
		require.WithinDuration(t, began, gap.Since, 26*time.Second, "whole until something last came")
		s.accept().joinLive()
		require.False(t, sub.requireGap().Open())
	})
}

// C8, C13: while the server works on a join it answers nothing. That is not
// the death of a socket, however long it takes.
func TestC8C13AJoinHoldsTheSocketAndNotTheClient(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		o := s.options()
		o.JoinTimeout = 2 * time.Minute
		c := open(t, o)
		first := subscribe(t, c, "good")
		conn := s.accept()
		join := conn.joinLive()
		requireStarted(t, first)
		conn.setMute(true)
		_ = subscribe(t, c, "slow")
		slow := conn.expect(phoenix.EventJoin)
		time.Sleep(100 * time.Second) // longer than heartbeats and their timeouts
		conn.acceptJoin(slow)
		time.Sleep(10 * time.Second)
		conn.release()
		conn.insert(join, 1)
		first.requireChange(1)
		time.Sleep(10 * time.Minute)
		require.Equal(t, 1, s.dialed(), "one socket all the time")
	})
}

// A join on a socket on which nothing comes at all is a dead socket.
func TestAJoinOnADeadSocketIsGivenUpWithIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, s.options())
		ch, err := c.Channel("room")
		require.NoError(t, err)
		live := make(chan error, 1)
		go func() { live <- ch.WaitLive(t.Context()) }()
		conn := s.accept()
		conn.setMute(true)
		conn.expect(phoenix.EventJoin)
		began := time.Now()
		again := s.accept()
		require.InDelta(t, 40, time.Since(began).Seconds(), 2)
		again.joinLive()
		require.NoError(t, <-live)
	})
}

// A join that gets no answer on a socket that lives is tried again, alone.
func TestAJoinWithoutAnAnswerIsTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, s.options())
		sub := subscribe(t, c, "good")
		conn := s.accept()
		conn.joinLive()
		requireStarted(t, sub)
		lazy := subscribe(t, c, "lazy")
		ignored := conn.expect(phoenix.EventJoin)
		again := conn.expect(phoenix.EventJoin)
		require.NotEqual(t, ignored.Ref, again.Ref)
		conn.acceptJoin(ignored) // too late: C18
		conn.subscribed(ignored)
		synctest.Wait()
		require.Equal(t, channel.Joining, lazy.ch.Status().State)
		conn.acceptJoin(again)
		conn.subscribed(again)
		requireStarted(t, lazy)
		require.Equal(t, 1, s.dialed())
	})
}

// C10: frames of 16 MB and more.
func TestC10LargeFrames(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		o := s.options()
		o.ReadLimit = 17 << 20 // the default is more: this is to spare the test's time
		c := open(t, o)
		sub := subscribe(t, c, "room")
		conn := s.accept()
		join := conn.joinLive()
		requireStarted(t, sub)
		conn.send(phoenix.Message{Topic: join.Topic, Event: phoenix.EventPostgresChanges, Payload: []byte(
			`{"ids":[100],"data":{"schema":"public","table":"orders","type":"INSERT","commit_timestamp":null,"errors":null,` +
				`"columns":[{"name":"id","type":"int8"},{"name":"t","type":"text"}],"record":{"id":7,"t":"` + strings.Repeat("x", 16<<20) + `"}}}`)})
		change := sub.next()
		require.Greater(t, len(change.Record), 16<<20)
		// One that is too large costs the connection, and that is a gap.
		conn.sendRaw(false, []byte(`"`+strings.Repeat("x", 18<<20)+`"`))
		gap := sub.requireGap()
		require.ErrorIs(t, gap.Err, websocket.ErrMessageTooBig)
	})
}

// C74: a message that finds no room is reported, and never waits.
func TestC74FullSendBufferIsReported(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		dropped := make(chan error, 100)
		o := s.options()
		o.SendBuffer = 1
		o.Hooks.Dropped = func(_ string, err error) { dropped <- err }
		source := &tokens{lifetime: time.Minute}
		o.Token = source.next
		c := open(t, o)
		for _, topic := range []string{"a", "b", "c", "d", "e"} {
			sub := subscribe(t, c, topic)
			if topic == "a" {
				s.accept()
			}
			s.lastConn().joinLive()
			requireStarted(t, sub)
		}
		s.lastConn().stopReading()
		require.ErrorIs(t, <-dropped, realtime.ErrSendBufferFull)
	})
}

func TestCloseSaysGoodbye(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, s.options())
		sub := subscribe(t, c, "room")
		conn := s.accept()
		conn.joinLive()
		requireStarted(t, sub)
		began := time.Now()
		require.NoError(t, c.Close(t.Context()))
		require.Less(t, time.Since(began), time.Second)
		<-conn.gone
		require.ErrorIs(t, sub.requireEnd(), realtime.ErrClosed)
		require.NoError(t, c.Close(t.Context()), "twice is fine")
	})
}

// Close ends within its context even if the server is dead, and a consumer
// blocks the socket.
func TestCloseIsBoundedByItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, s.options())
		sub := subscribe(t, c, "room", channel.WithQueue(channel.Queue{Changes: 1, Full: channel.Block}))
		conn := s.accept()
		join := conn.joinLive()
		requireStarted(t, sub)
		sub.pause()
		go func() {
			for n := range 5 {
				conn.insert(join, n+1)
			}
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		err := c.Close(ctx)
		require.True(t, err == nil || errors.Is(err, context.DeadlineExceeded), "%v", err)
		require.Less(t, time.Since(began), 6*time.Second)
	})
}
