//go:build unix

package realtime_test

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
)

// The process that is stopped is this test's own program, started with these
// set.
const stoppedURL, stoppedKey, stoppedToken = "GAPLESS_STOPPED_URL", "GAPLESS_STOPPED_KEY", "GAPLESS_STOPPED_TOKEN"

// taken is a value of one of the child's two streams, as it prints it.
type taken struct {
	Broadcast bool // or a change
	N         int  // its number, unless Gap is set
	Gap       *cdc.Gap
	Replay    channel.Replay
}

// TestStopped_Child is the process that is stopped. It lives until it is killed
// or its standard input ends.
func TestStopped_Child(t *testing.T) {
	if os.Getenv(stoppedURL) == "" {
		t.Skip("a part of TestStopped_SinceIsBeforeWhatWasLost")
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); cancel() }()
	c := open(t, realtime.Options{URL: os.Getenv(stoppedURL), Key: os.Getenv(stoppedKey), ReconnectMin: 50 * time.Millisecond,
		Token: func(context.Context) (string, time.Time, error) { return os.Getenv(stoppedToken), time.Time{}, nil }})
	rows, err := c.Channel("rows")
	require.NoError(t, err)
	sub, err := rows.Subscribe(channel.Binding{Table: "rows"})
	require.NoError(t, err)
	l, err := room(t, c, channel.Private(), channel.ReplayBroadcasts(time.Time{}), channel.WithReplayOverlap(0)).Listen()
	require.NoError(t, err)
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	print := func(v taken, text json.RawMessage) {
		if v.Gap == nil {
			require.NoError(t, json.Unmarshal(text, &v))
		} else {
			v.Gap.Err = nil
		}
		mu.Lock()
		defer mu.Unlock()
		require.NoError(t, out.Encode(v))
	}
	var streams sync.WaitGroup
	streams.Go(func() {
		for change, err := range sub.Changes(ctx) {
			if err != nil {
				break
			}
			print(taken{Gap: change.Gap}, change.Record)
		}
	})
	for b, err := range l.Broadcasts(ctx) {
		if err != nil {
			break
		}
		print(taken{Broadcast: true, Gap: b.Gap, Replay: b.Replay}, b.Payload)
	}
	streams.Wait()
}

// A process that is stopped (a laptop that sleeps, a paused virtual machine, a
// debugger) with bytes in its buffers: what it reads when it goes on does not
// say that the stream was whole until then. Gap.Since is never later than the
// first change that was lost, and no replay is called complete that began later.
// GAPLESS_STOPPED is how long the process is stopped. The time of CI is longer
// than the margin that replays have anyway.
func TestStopped_SinceIsBeforeWhatWasLost(t *testing.T) {
	t.Parallel()
	stop := 4500 * time.Millisecond
	if given := os.Getenv("GAPLESS_STOPPED"); given != "" {
		var err error
		stop, err = time.ParseDuration(given)
		require.NoError(t, err, "GAPLESS_STOPPED")
	}
	cuts := map[string]func(*mockserver.Server){
		"socket cut":      (*mockserver.Server).KillSockets,
		"close frame":     (*mockserver.Server).Drain,
		"channel crashed": (*mockserver.Server).CrashChannels,
	}
	processes := map[string]*stopped{}
	for name := range cuts {
		processes[name] = startStopped(t, stop)
	}
	for _, p := range processes {
		p.until(func() bool { return p.over[false] > 0 && p.over[true] > 0 })
		p.write(stop)
	}
	time.Sleep(300 * time.Millisecond)
	for _, p := range processes {
		p.signal(syscall.SIGSTOP)
	}
	time.Sleep(300 * time.Millisecond)
	for name, cut := range cuts {
		cut(processes[name].server)
	}
	time.Sleep(stop - 300*time.Millisecond)
	for _, p := range processes {
		p.signal(syscall.SIGCONT)
	}
	for name, p := range processes {
		t.Run(name, func(t *testing.T) {
			p.t = t
			p.until(func() bool { return p.over[false] > 1 && p.over[true] > 1 })
			close(p.halt)
			require.NoError(t, <-p.halted)
			require.NoError(t, <-p.halted)
			require.NoError(t, p.rows.next())
			require.NoError(t, p.messages.next())
			p.until(func() bool { return p.last[false] == len(p.rows.at) && p.last[true] == len(p.messages.at) })

			lost, _ := p.lost(false, p.rows.at)
			require.Positive(t, lost)
			missed, replay := p.lost(true, p.messages.at)
			if missed > 0 {
				require.Equal(t, channel.ReplayIncomplete, replay, "%d messages are missing", missed)
			}
			t.Logf("%d of %d changes lost; %d of %d messages: %v", lost, len(p.rows.at), missed, len(p.messages.at), replay)
		})
	}
}

// numbered sends 1, 2, 3 and so on.
type numbered struct {
	send func(n int) error
	at   []time.Time // from when on each may have been there
}

func (s *numbered) next() error {
	s.at = append(s.at, time.Now())
	return s.send(len(s.at))
}

func (s *numbered) every(d time.Duration, halt <-chan struct{}) error {
	for {
		if err := s.next(); err != nil {
			return err
		}
		select {
		case <-halt:
			return nil
		case <-time.After(d):
		}
	}
}

// stopped is the child as the test has it. Its maps are by whether it is the
// stream of broadcasts.
type stopped struct {
	t              *testing.T
	server         *mockserver.Server
	rows, messages numbered
	halt           chan struct{} // ends the writers
	halted         chan error
	cmd            *exec.Cmd
	out            *json.Decoder
	taken          map[bool][]taken
	over           map[bool]int // gaps that are over
	last           map[bool]int // the highest number
}

func startStopped(t *testing.T, stop time.Duration) *stopped {
	s := mockserver.Start(t, mockserver.Config{Timing: mockserver.Fast(), Tables: []mockserver.Table{{
		Name: "rows", PrimaryKey: []string{"n"}, Columns: []mockserver.Column{{Name: "n", Type: "int8"}}}}})
	ctx, cancel := context.WithTimeout(t.Context(), stop+time.Minute)
	p := &stopped{t: t, server: s, halt: make(chan struct{}), halted: make(chan error, 2),
		rows:     numbered{send: func(n int) error { return s.Insert("rows", mockserver.Row{"n": n}) }},
		messages: numbered{send: func(n int) error { return s.RealtimeSend(map[string]int{"n": n}, "e", "room", true) }},
		cmd:      exec.CommandContext(ctx, os.Args[0], "-test.run=^TestStopped_Child$"),
		taken:    map[bool][]taken{}, over: map[bool]int{}, last: map[bool]int{}}
	p.cmd.Env = append(os.Environ(), stoppedURL+"="+s.URL(), stoppedKey+"="+s.AnonKey(), stoppedToken+"="+s.UserToken("a", time.Hour))
	p.cmd.Stderr = os.Stderr
	_, err := p.cmd.StdinPipe() // which ends when this process does
	require.NoError(t, err)
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.out = json.NewDecoder(out)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() { cancel(); _ = p.cmd.Wait() })
	return p
}

// write begins to write rows, and messages, of which a replay has room for those
// of one stop.
func (p *stopped) write(stop time.Duration) {
	go func() { p.halted <- p.rows.every(20*time.Millisecond, p.halt) }()
	go func() { p.halted <- p.messages.every(stop/9, p.halt) }()
}

func (p *stopped) signal(s syscall.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(s))
}

// until takes what the child prints until that is enough.
func (p *stopped) until(enough func() bool) {
	p.t.Helper()
	for !enough() {
		var v taken
		require.NoError(p.t, p.out.Decode(&v))
		p.taken[v.Broadcast] = append(p.taken[v.Broadcast], v)
		switch {
		case v.Gap == nil:
			p.last[v.Broadcast] = max(p.last[v.Broadcast], v.N)
		case !v.Gap.Open():
			p.over[v.Broadcast]++
		}
	}
}

// lost returns how many numbers did not come, each of which must be inside of a
// gap, and what the gaps say about a replay.
func (p *stopped) lost(broadcast bool, at []time.Time) (n int, replay channel.Replay) {
	p.t.Helper()
	came := map[int]bool{}
	var gaps []cdc.Gap
	for _, v := range p.taken[broadcast] {
		if v.Gap == nil {
			came[v.N] = true
		} else if !v.Gap.Open() && v.Gap.Reason != cdc.Started {
			gaps = append(gaps, *v.Gap)
			replay = max(replay, v.Replay)
		}
	}
	for i, at := range at {
		if came[i+1] {
			continue
		}
		inside := slices.ContainsFunc(gaps, func(g cdc.Gap) bool { return !g.Since.After(at) && g.Until.After(at) })
		n++
		if !inside {
			p.t.Errorf("%d (broadcast: %t), sent at %v, is lost and in no gap; the last since %v", i+1, broadcast, at, gaps[len(gaps)-1].Since)
			break
		}
	}
	return n, replay
}
