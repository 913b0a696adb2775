package realtime_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/transcript"
)

// A frame that cannot be read is a gap for those whose change it may have been.
func TestUnreadableFramesAreGapsWhereTheyMayHaveBeenChanges(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t)
		c := open(t, s.options())
		a := subscribe(t, c, "a")
		conn := s.accept()
		joinA := conn.joinLive()
		requireStarted(t, a)
		b := subscribe(t, c, "b")
		joinB := conn.joinLive()
		requireStarted(t, b)
		requireUndecodable := func(subs ...*consumer) {
			t.Helper()
			for _, sub := range subs {
				gap := sub.requireGap()
				require.Equal(t, cdc.Undecodable, gap.Reason)
				require.Error(t, gap.Err)
				require.False(t, gap.Open())
			}
			conn.insert(joinA, 1)
			a.requireChange(1)
			conn.insert(joinB, 1)
			b.requireChange(1)
		}
		conn.sendRaw(false, []byte(`no JSON at all`)) // anybody's
		requireUndecodable(a, b)
		conn.sendRaw(true, []byte{4, 200}) // a binary frame is a broadcast
		requireUndecodable()
		conn.sendRaw(true, []byte{77, 1, 2}) // of an unknown kind: C4
		requireUndecodable()
		conn.sendRaw(false, []byte(`[null,null,"realtime:a","postgres_changes",{"ids":[100],`))
		requireUndecodable(a)
		conn.sendRaw(false, []byte(`[null,null,"realtime:a","broadcast",{"payload":%{error`))
		requireUndecodable()
		conn.sendRaw(false, []byte(`[null,null,"realtime:zzz","postgres_changes",{`)) // nobody's
		requireUndecodable()
		conn.sendRaw(false, []byte(`[null,null,"realtime:zzz","phx_close",{`))
		requireUndecodable()
		for _, event := range []string{"system", "phx_close", "phx_error"} { // which may be the end of the join
			conn.sendRaw(false, fmt.Appendf(nil, `[%s,null,"realtime:b",%q,{`, joinB.JoinRef, event))
			gap := b.requireGap()
			require.Equal(t, cdc.Undecodable, gap.Reason)
			require.True(t, gap.Open())
			joinB = conn.joinLive()
			require.False(t, b.requireGap().Open())
			requireUndecodable()
			require.Equal(t, channel.Live, a.ch.Status().State)
		}
		// Well-formed frames whose payload is none.
		for _, payload := range []string{`{}`, `null`, `7`, `{"ids":[100],"data":null}`, `{"ids":"x","data":{}}`,
			`{"ids":[100],"data":{"schema":"public","table":"orders","type":"TRUNCATE"}}`} {
			conn.send(phoenix.Message{Topic: "realtime:b", Event: phoenix.EventPostgresChanges, Payload: []byte(payload)})
			requireUndecodable(b)
		}
		// Unknown events are none of these.
		conn.send(phoenix.Message{Topic: "realtime:a", Event: "something_new", Payload: []byte(`{"x":1}`)})
		conn.send(phoenix.Message{Topic: "realtime:a", Event: phoenix.EventSystem, Payload: []byte(`[]`)})
		requireUndecodable()
		require.Equal(t, channel.Live, a.ch.Status().State)
	})
}

// 10,000 frames made of recorded ones: cut, changed, mixed, nested deep. The
// client panics at none, leaves nothing behind, does not grow, and works
// afterwards.
func TestHostileFrames(t *testing.T) {
	const frames = 10_000
	for _, vsn := range []string{"1.0.0", "2.0.0"} {
		t.Run(vsn, func(t *testing.T) {
			corpus := recorded(t, vsn)
			bubble(t, func(t *testing.T) {
				s := newScript(t)
				o := s.options()
				o.ProtocolVersion = vsn
				c := open(t, o)
				sub := subscribe(t, c, "room:t_full")
				topic := "realtime:room:t_full"
				go s.behave()
				rng := rand.New(rand.NewPCG(1, uint64(len(vsn))))
				var before, after runtime.MemStats
				var goroutines int
				values := 0
				for n := range frames {
					if n == frames/10 {
						runtime.GC()
						runtime.ReadMemStats(&before)
						goroutines = runtime.NumGoroutine()
					}
					frame, binary := mutate(rng, corpus, topic)
					s.current().sendRaw(binary, frame)
					values += sub.drain()
					if n%50 == 0 {
						time.Sleep(time.Minute) // a channel that one of them ended comes back
					}
				}
				time.Sleep(10 * time.Minute) // whatever that led to is over
				values += sub.drain()
				runtime.GC()
				runtime.ReadMemStats(&after)
				require.LessOrEqual(t, runtime.NumGoroutine(), goroutines+10)
				require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(8<<20), "heap")
				require.Greater(t, values, 50, "the frames were not all ignored")
				require.NoError(t, sub.ch.WaitLive(t.Context()))
				sub.drain()
				conn := s.current()
				conn.change(topic, "public", "orders", "INSERT", 424242, 100)
				sub.requireChange(424242)
			})
		})
	}
}

// behave answers joins on every connection that comes.
func (s *script) behave() {
	for {
		var c *conn
		select {
		case c = <-s.conns:
		case <-s.t.Context().Done():
			return
		}
		s.mu.Lock()
		s.last = c
		s.mu.Unlock()
		go func() {
			for {
				select {
				case m := <-c.in:
					if m.Event == phoenix.EventJoin {
						c.acceptJoin(m)
						c.subscribed(m)
					}
				case <-c.gone:
					return
				}
			}
		}()
	}
}

// current waits for a live connection.
func (s *script) current() *conn {
	for {
		synctest.Wait()
		if c := s.lastConn(); c != nil {
			select {
			case <-c.gone:
			default:
				return c
			}
		}
		time.Sleep(time.Second)
	}
}

// drain takes what is there.
func (c *consumer) drain() (n int) {
	for {
		synctest.Wait()
		select {
		case <-c.items:
			n++
		case err := <-c.ended:
			require.FailNow(c.t, "the stream has ended", "%v", err)
		default:
			return n
		}
	}
}

func recorded(t *testing.T, vsn string) (frames []transcript.Line) {
	for _, name := range transcript.Names() {
		script, err := transcript.Load(name)
		require.NoError(t, err)
		for _, line := range script.Lines {
			// What ends a channel for good is tested elsewhere.
			final := strings.Contains(line.Frame, "Unable to subscribe") || strings.Contains(line.Frame, "params") ||
				strings.Contains(line.Frame, "permission") || strings.Contains(line.Frame, "not supported")
			if line.IsFrame() && line.Dir == "recv" && script.Version(line.Conn) == vsn && len(line.Frame) < 20_000 && !final {
				frames = append(frames, line)
			}
		}
	}
	return frames
}

// mutate makes a hostile frame of a recorded one.
func mutate(rng *rand.Rand, corpus []transcript.Line, topic string) (frame []byte, binary bool) {
	line := corpus[rng.IntN(len(corpus))]
	frame, binary = line.Bytes(), line.Kind == "binary"
	if !binary && rng.IntN(2) == 0 { // to a channel that is there
		if start := bytes.Index(frame, []byte("realtime:")); start >= 0 {
			end := start + bytes.IndexByte(frame[start:], '"')
			frame = bytes.Replace(frame, frame[start:end], []byte(topic), 1)
		}
	}
	frame = bytes.Clone(frame)
	for range 1 + rng.IntN(3) {
		if len(frame) == 0 {
			break
		}
		at := rng.IntN(len(frame))
		switch rng.IntN(9) {
		case 0:
			frame = frame[:at]
		case 1:
			frame[at] ^= byte(1 + rng.IntN(255))
		case 2:
			frame = append(frame[:at], frame[at+1:]...)
		case 3:
			frame = append(frame, frame[at:]...)
		case 4:
			frame = append(append(append([]byte(nil), frame[:at]...), bytes.Repeat([]byte{'['}, 1<<rng.IntN(14))...), frame[at:]...)
		case 5:
			other := corpus[rng.IntN(len(corpus))].Bytes()
			frame = append(frame[:at:at], other[rng.IntN(len(other)):]...)
		case 6:
			frame = bytes.ReplaceAll(frame, []byte(`"`), []byte(`""`))
		case 7:
			frame = bytes.Replace(frame, []byte("1"), []byte("1e999999999"), 1)
		case 8: // as it was
		}
	}
	if rng.IntN(50) == 0 {
		binary = !binary
	}
	return frame, binary
}
