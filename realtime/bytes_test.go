package realtime_test

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/cputime"
	"github.com/gapless-go/gapless/internal/memhttp"
	"github.com/gapless-go/gapless/realtime"
)

// hostileBytes are what a server sends on the connection below the websocket,
// by what is wrong with it.
func hostileBytes() map[string]string {
	length := func(first byte, n uint64) string {
		return string(binary.BigEndian.AppendUint64([]byte{first, 127}, n)) + strings.Repeat("x", 20)
	}
	return map[string]string{
		"a negative length":           length(0x81, 1<<63),
		"the greatest length":         length(0x81, 1<<64-1),
		"a length that wraps":         length(0x82, 0xFFFFFFFFFFFFFFF6),
		"a length over the limit":     length(0x81, 1<<40),
		"a long control frame":        "\x89\x7e\x01\x00" + strings.Repeat("p", 256),
		"a fragmented control frame":  "\x09\x00",
		"a masked frame":              "\x81\x81abcdx",
		"an unknown opcode":           "\x83\x00",
		"reserved bits":               "\xf1\x00",
		"a continuation of nothing":   "\x80\x01x",
		"fragments without an end":    strings.Repeat("\x01\x01x", 1) + strings.Repeat("\x00\x01x", 10_000),
		"empty frames":                strings.Repeat("\x81\x00", 10_000),
		"pings":                       strings.Repeat("\x89\x01p", 1000),
		"text that is no UTF-8":       "\x81\x02\xff\xfe",
		"a close frame of one byte":   "\x88\x01x",
		"a close frame with a reason": "\x88\x0a\x03\xf4\x1b[31mred\n",
		"deep nesting":                string([]byte{0x81, 126, 0xff, 0xff}) + strings.Repeat("[", 0xffff),
	}
}

// Whatever bytes a server sends, the client neither panics nor hangs: it gives
// the socket up, or goes on.
func TestHostile_Bytes(t *testing.T) {
	for name, bytes := range hostileBytes() {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) { endureBytes(t, []byte(bytes), time.Minute) })
		})
	}
}

// FuzzHostile_Bytes is TestHostile_Bytes with any bytes, and with a bound of
// what they cost:
//
//	go test ./realtime -run '^$' -fuzz '^FuzzHostile_Bytes$' -fuzzminimizetime 1x
func FuzzHostile_Bytes(f *testing.F) {
	for _, bytes := range hostileBytes() {
		f.Add([]byte(bytes))
	}
	f.Add([]byte("\x81\x7e\x00\x84" + `["1","1","realtime:room","phx_reply",{"status":"ok","response":{"postgres_changes":[{"id":1,"event":"*","schema":"public","table":"orders"}]}}]`))
	f.Fuzz(func(t *testing.T, bytes []byte) {
		withinBudget(t, func() (sent int) {
			bubble(t, func(t *testing.T) { sent = endureBytes(t, bytes, 10*time.Second) })
			return sent
		})
	})
}

// withinBudget runs f, in which a server sends so many bytes, and fails if they
// cost more time or memory than the documentation of package channel says, with
// room for the program around and for a slow machine.
func withinBudget(t *testing.T, f func() (bytes int)) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := cputime.Used()
	bytes := f()
	took := cputime.Used() - began
	runtime.ReadMemStats(&after)
	require.Less(t, took, 5*time.Second+time.Duration(bytes)*20*time.Microsecond)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(32<<20+bytes*400))
}

// endureBytes has a client with everything that a channel can have meet a server
// that sends these bytes when the client has sent its first, on every connection,
// and then only reads. It returns how many were sent in that time.
func endureBytes(t *testing.T, bytes []byte, within time.Duration) int {
	var sent atomic.Int64
	ln := memhttp.Listen()
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				upgradeBare(conn)
				buf := make([]byte, 1000)
				for first := true; ; first = false {
					if _, err := conn.Read(buf); err != nil {
						return
					}
					if first {
						go func() {
							n, _ := conn.Write(bytes)
							sent.Add(int64(n))
						}()
					}
				}
			}()
		}
	}()
	client := ln.Client()
	defer client.CloseIdleConnections()
	c, _ := openAll(t, realtime.Options{URL: projectURL, Key: anonKey, HTTPClient: client}, "room")
	time.Sleep(within)
	closeWithin(t, c, 3*time.Second)
	return int(sent.Load())
}

// upgradeBare answers the upgrade to a websocket, and leaves the connection as
// it is.
func upgradeBare(conn net.Conn) {
	r, err := http.ReadRequest(bufio.NewReaderSize(conn, 16<<10))
	if err != nil {
		return
	}
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]))
}

// everything is a channel that has everything.
type everything struct {
	ch       *channel.Channel
	presence *channel.Presence
	events   chan string    // of broadcasts: the newest
	streams  sync.WaitGroup // its consumers
}

// openAll makes a client with a channel that has everything, whose streams are
// consumed until the client is closed. A panic anywhere fails the test.
func openAll(t *testing.T, o realtime.Options, topic string) (*realtime.Client, *everything) {
	t.Helper()
	panicked := func(err error) {
		var p *realtime.PanicError
		if errors.As(err, &p) {
			t.Errorf("a panic: %v\n%s", p, p.Stack)
		}
	}
	o.Hooks.Lost, o.Hooks.Failed = panicked, panicked
	o.Hooks.Dropped = func(_ string, err error) { panicked(err) }
	o.Hooks.Refused = o.Hooks.Dropped
	c := open(t, o)
	ch, err := c.Channel(topic)
	require.NoError(t, err)
	sub, err := ch.Subscribe(orders)
	require.NoError(t, err)
	l, err := ch.Listen()
	require.NoError(t, err)
	p, err := ch.Presence()
	require.NoError(t, err)
	h := &everything{ch: ch, presence: p, events: make(chan string, 1)}
	h.streams.Go(func() { exhaust(sub.Changes(context.Background())) })
	h.streams.Go(func() { exhaust(p.Changes(context.Background())) })
	h.streams.Go(func() {
		for b, err := range l.Broadcasts(context.Background()) {
			if err != nil {
				return
			}
			select {
			case <-h.events:
			default:
			}
			h.events <- b.Event
		}
	})
	return c, h
}

func exhaust[T any](stream iter.Seq2[T, error]) {
	for range stream {
	}
}

// closeWithin closes a client, which must not take longer than its context.
func closeWithin(t *testing.T, c *realtime.Client, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	began := time.Now()
	if err := c.Close(ctx); err != nil {
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	require.LessOrEqual(t, time.Since(began), d+time.Second/2)
}
