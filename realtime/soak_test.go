package realtime_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/cputime"
	"github.com/gapless-go/gapless/internal/phoenix"
)

const hostileTopic = "realtime:room"

// soakSize is how many metas, ids or levels the largest frames have.
var soakSize = 200_000

// FuzzHostile_Frames is TestHostile_Soak with any frames, one a line, on a
// channel that is live:
//
//	go test ./realtime -run '^$' -fuzz '^FuzzHostile_Frames$' -fuzzminimizetime 1x
func FuzzHostile_Frames(f *testing.F) {
	for _, frames := range hostileKinds(hostileTopic, "1", 3) {
		var text, binary [][]byte
		for _, r := range frames {
			if r.binary {
				binary = append(binary, r.text)
			} else {
				text = append(text, r.text)
			}
		}
		f.Add(bytes.Join(text, []byte{'\n'}), false)
		if binary != nil {
			f.Add(bytes.Join(binary, []byte{'\n'}), true)
		}
	}
	f.Add([]byte(`["1","1","`+hostileTopic+`","phx_error",{}]`), false)
	f.Fuzz(func(t *testing.T, frames []byte, binary bool) {
		withinBudget(t, func() int {
			bubble(t, func(t *testing.T) {
				s := newScript(t)
				c, h := openAll(t, s.options(), "room")
				go s.behave()
				require.NoError(t, h.ch.WaitLive(t.Context()))
				conn := s.current()
				for frame := range bytes.SplitSeq(frames, []byte{'\n'}) {
					conn.sendRaw(binary, frame)
				}
				time.Sleep(10 * time.Second)
				h.ch.Status()
				h.presence.State()
				closeWithin(t, c, 3*time.Second)
			})
			return len(frames)
		})
	})
}

// A server that sends all kinds of nonsense, one after the other, on one socket:
// nothing panics, memory is within the bounds that package channel documents,
// Status and Presence.State answer meanwhile, a change comes afterwards, Close
// ends within its context, and no goroutine is left. It is all kinds once, or for
// as long as GAPLESS_SOAK says.
func TestHostile_Soak(t *testing.T) {
	var atLeast time.Duration
	if given := os.Getenv("GAPLESS_SOAK"); given != "" {
		var err error
		atLeast, err = time.ParseDuration(given)
		require.NoError(t, err, "GAPLESS_SOAK")
	}
	goroutines := goleak.IgnoreCurrent()
	s := newScript(t)
	c, h := openAll(t, s.options(), "room")
	conn := s.accept()
	join := conn.joinLive()
	require.NoError(t, h.ch.WaitLive(t.Context()))
	ref := strings.Trim(string(join.Ref), `"`)
	kinds := hostileKinds(hostileTopic, ref, soakSize)
	base := heapLive()

	probing := probe(h)
	// What is present is kept up to three times: in the roster, in the change that
	// waits, and in the one that the consumer has. The queues hold up to 64 MiB, and
	// garbage as much again.
	kept, rounds, queued := int64(0), 0, int64(128<<20)
	for began := time.Now(); ; {
		for _, name := range slices.Sorted(maps.Keys(kinds)) {
			longest, all := int64(0), int64(0)
			for _, r := range kinds[name] {
				longest, all = max(longest, int64(len(r.text))), all+int64(len(r.text))
			}
			probing.peak.Store(0)
			used := cputime.Used()
			for _, r := range kinds[name] {
				conn.sendFragments(t, r)
			}
			rounds++
			h.passed(t, conn, fmt.Sprint("passed ", rounds))
			took := cputime.Used() - used
			if strings.Contains(string(kinds[name][0].text), "presence_") {
				kept = max(kept, longest)
			}
			peak := max(probing.peak.Load(), heapNow()) - base
			require.Less(t, peak, 400*longest+60*kept+queued, name)
			require.Less(t, took, 5*time.Second+time.Duration(all)*20*time.Microsecond, name)
			t.Logf("%-22s %9d bytes %8v, peak %4d MB", name, all, took.Round(time.Millisecond), peak>>20)
			require.Less(t, heapLive()-base, 60*kept+queued, name)
		}
		require.NotEqual(t, channel.Closed, h.ch.Status().State)
		if time.Since(began) >= atLeast {
			break
		}
	}
	probing.end()
	t.Logf("Status within %v, Presence.State within %v, and a timer %v late", probing.status, probing.state, probing.late)
	require.Less(t, probing.status, 2*time.Second+4*probing.late)
	require.Less(t, probing.state, 5*time.Second+4*probing.late)

	conn.sendRaw(false, []byte(`["`+ref+`",null,"`+hostileTopic+`","presence_state",{}]`))
	conn.crashChannel(join) // and it comes back
	conn.joinLive()
	require.NoError(t, h.ch.WaitLive(t.Context()))
	closeClient(t, c)
	h.streams.Wait()
	require.Less(t, heapLive()-base, int64(16<<20))
	runtime.KeepAlive(kinds) // which base includes
	s.client.CloseIdleConnections()
	_ = s.http.Close()
	s.serving.Wait()
	goleak.VerifyNone(t, goroutines)
}

// passed waits until all that was sent has been worked on. A listener that
// overflows may lose the sign, so it is repeated.
func (h *everything) passed(t *testing.T, conn *conn, sign string) {
	payload := fmt.Appendf(nil, `{"type":"broadcast","event":%q,"payload":{}}`, sign)
	for deadline := time.Now().Add(2 * time.Minute); ; {
		conn.send(phoenix.Message{Topic: hostileTopic, Event: phoenix.EventBroadcast, Payload: payload})
		for again := time.After(100 * time.Millisecond); again != nil; {
			select {
			case event := <-h.events:
				if event == sign {
					return
				}
			case <-again:
				again = nil
			}
		}
		require.True(t, time.Now().Before(deadline), "the client does not read")
	}
}

// sendFragments sends a frame, in so many pieces.
func (c *conn) sendFragments(t *testing.T, r raw) {
	if r.fragments == 0 {
		c.sendRaw(r.binary, r.text)
		return
	}
	w, err := c.ws.Writer(context.Background(), websocket.MessageText)
	require.NoError(t, err)
	for piece := range slices.Chunk(r.text, max(1, len(r.text)/r.fragments)) {
		_, err = w.Write(piece)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
}

// prober asks a channel again and again, and looks at the heap.
type prober struct {
	peak          atomic.Int64
	status, state time.Duration // the longest that a call took
	late          time.Duration // the latest that a timer came, by which the machine is loaded
	stop          chan struct{}
	done          sync.WaitGroup
}

func probe(h *everything) *prober {
	w := &prober{stop: make(chan struct{})}
	w.done.Go(func() {
		for n := 0; ; n++ {
			at := time.Now()
			h.ch.Status()
			w.status = max(w.status, time.Since(at))
			if n%500 == 0 {
				at = time.Now()
				h.presence.State()
				w.state = max(w.state, time.Since(at))
			}
			w.peak.Store(max(w.peak.Load(), heapNow()))
			at = time.Now()
			select {
			case <-w.stop:
				return
			case <-time.After(2 * time.Millisecond):
				w.late = max(w.late, time.Since(at))
			}
		}
	})
	return w
}

func (w *prober) end() {
	close(w.stop)
	w.done.Wait()
}

// heapLive returns how many bytes are in use.
func heapLive() int64 {
	runtime.GC()
	runtime.GC() // what the first has found is swept
	return heapNow()
}

// heapNow returns how many bytes are allocated and not collected.
func heapNow() int64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}
