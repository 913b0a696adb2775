package mockserver_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
)

const (
	manySockets       = 1000
	channelsPerSocket = 10
	manyChanges       = 50
)

// BenchmarkManySockets measures a server with 1,000 sockets of 10 channels
// each, all subscribed to one table: what a socket and a channel take, and how
// many changes a second it sends. The server is a process of its own; the
// clients, which do no more than count frames, share the processors with it.
func BenchmarkManySockets(b *testing.B) {
	for b.Loop() {
		s := startBenchServer(b)
		empty := s.memory()
		clients := make([]*frameCounter, manySockets)
		var reading sync.WaitGroup
		for i := range clients {
			clients[i] = dialCounter(b, s)
			reading.Go(clients[i].count)
		}
		opened := s.memory()
		for _, c := range clients {
			c.join(b)
		}
		awaitFrames(clients, 2*channelsPerSocket) // a reply, and "Subscribed to PostgreSQL"
		joined := s.memory()
		busy := s.busy()
		start := time.Now()
		s.ask(fmt.Sprintf("insert %d", manyChanges))
		awaitFrames(clients, (2+manyChanges)*channelsPerSocket)
		took := time.Since(start)
		busy = s.busy() - busy
		b.ReportMetric(float64(opened.used-empty.used)/manySockets, "B/socket")
		b.ReportMetric(float64(joined.used-opened.used)/(manySockets*channelsPerSocket), "B/channel")
		b.ReportMetric(float64(joined.resident-empty.resident)/manySockets, "RSS-B/socket-with-channels")
		b.ReportMetric(manySockets*channelsPerSocket*manyChanges/took.Seconds(), "changes/s")
		b.ReportMetric(busy.Seconds()*1e6/(manySockets*channelsPerSocket*manyChanges), "server-cpu-µs/change")
		for _, c := range clients {
			_ = c.Close()
		}
		reading.Wait()
		s.stop()
	}
	b.ReportMetric(0, "ns/op") // which would say nothing
}

// benchServer is a server in another process.
type benchServer struct {
	b       *testing.B
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Scanner
	url     *url.URL
}

// startBenchServer runs TestServerOfABenchmark.
func startBenchServer(b *testing.B) *benchServer {
	s := &benchServer{b: b, command: exec.Command(os.Args[0], "-test.run=^TestServerOfABenchmark$", "-test.timeout=10m")}
	s.command.Env = append(os.Environ(), "GAPLESS_BENCH_SERVER=1")
	s.command.Stderr = os.Stderr
	var err error
	s.in, err = s.command.StdinPipe()
	require.NoError(b, err)
	out, err := s.command.StdoutPipe()
	require.NoError(b, err)
	s.out = bufio.NewScanner(out)
	require.NoError(b, s.command.Start())
	s.url, err = url.Parse(s.answer())
	require.NoError(b, err)
	return s
}

func (s *benchServer) stop() {
	_ = s.in.Close()
	_ = s.command.Wait()
}

func (s *benchServer) ask(what string) string {
	_, err := fmt.Fprintln(s.in, what)
	require.NoError(s.b, err)
	return s.answer()
}

func (s *benchServer) answer() string {
	require.True(s.b, s.out.Scan(), "the server is gone")
	return s.out.Text()
}

// memoryUse is what a process uses, in bytes.
type memoryUse struct{ used, resident int64 }

func (s *benchServer) memory() (m memoryUse) {
	time.Sleep(time.Second) // for what is still under way
	_, err := fmt.Sscan(s.ask("memory"), &m.used, &m.resident)
	require.NoError(s.b, err)
	return m
}

// busy returns how much time of a processor the server has used.
func (s *benchServer) busy() time.Duration {
	ticks, err := strconv.Atoi(s.ask("busy"))
	require.NoError(s.b, err)
	return time.Duration(ticks) * 10 * time.Millisecond
}

// TestServerOfABenchmark is no test: it is the other process of
// BenchmarkManySockets.
func TestServerOfABenchmark(t *testing.T) {
	if os.Getenv("GAPLESS_BENCH_SERVER") == "" {
		t.Skip("it serves a benchmark")
	}
	cfg := withOrders
	cfg.Timing.IdleTimeout = -1
	s := mockserver.Start(t, cfg)
	fmt.Printf("%s?%s\n", s.WebsocketURL(), url.Values{"vsn": {"2.0.0"}, "apikey": {s.AnonKey()}}.Encode())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		what, n, _ := strings.Cut(in.Text(), " ")
		switch what {
		case "memory":
			m := ownMemory(t)
			fmt.Println(m.used, m.resident)
		case "busy":
			fmt.Println(ownTicks(t))
		case "insert":
			changes, err := strconv.Atoi(n)
			require.NoError(t, err)
			for id := range changes {
				insert(t, s, id)
			}
			fmt.Println("inserted")
		}
	}
}

// ownMemory returns the heap and stacks that are in use, and what the process
// has of the machine's memory.
func ownMemory(t *testing.T) (m memoryUse) {
	debug.FreeOSMemory()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	m.used = int64(stats.HeapInuse + stats.StackInuse)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return m // not Linux
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	_, err = fmt.Sscan(rest, &m.resident)
	require.NoError(t, err)
	m.resident *= 1024
	return m
}

// ownTicks returns the time of a processor that the process has used, in units
// of 10 ms.
func ownTicks(t *testing.T) int {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0 // not Linux
	}
	var user, system int
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')'):]))
	_, err = fmt.Sscan(fields[12]+" "+fields[13], &user, &system)
	require.NoError(t, err)
	return user + system
}

// frameCounter is a websocket client that counts the frames that come.
type frameCounter struct {
	net.Conn
	in     *bufio.Reader
	frames atomic.Int64
}

func dialCounter(b *testing.B, s *benchServer) *frameCounter {
	c, err := net.Dial("tcp", s.url.Host)
	require.NoError(b, err)
	f := &frameCounter{Conn: c, in: bufio.NewReader(c)}
	_, err = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", s.url.RequestURI(), s.url.Host)
	require.NoError(b, err)
	for line := "x"; line != ""; line = strings.TrimSpace(line) {
		line, err = f.in.ReadString('\n')
		require.NoError(b, err)
	}
	return f
}

// join joins the channels.
func (f *frameCounter) join(b *testing.B) {
	for i := range channelsPerSocket {
		text := fmt.Appendf(nil, `["%d","%d","realtime:channel%d","phx_join",{"config":{"postgres_changes":%s}}]`, i, i, i, ordersBinding)
		frame := binary.BigEndian.AppendUint16([]byte{0x81, 0x80 | 126}, uint16(len(text)))
		_, err := f.Write(append(append(frame, 0, 0, 0, 0), text...)) // a mask of zeros
		require.NoError(b, err)
	}
}

// count counts frames until the connection ends.
func (f *frameCounter) count() {
	var header [2]byte
	for {
		if _, err := io.ReadFull(f.in, header[:]); err != nil {
			return
		}
		length := int(header[1])
		if more := map[int]int{126: 2, 127: 8}[length]; more > 0 {
			long := make([]byte, more)
			if _, err := io.ReadFull(f.in, long); err != nil {
				return
			}
			length = int(binary.BigEndian.Uint64(append(bytes.Repeat([]byte{0}, 8-more), long...)))
		}
		if _, err := f.in.Discard(length); err != nil {
			return
		}
		f.frames.Add(1)
	}
}

// awaitFrames waits until each of the clients has so many frames.
func awaitFrames(clients []*frameCounter, n int64) {
	for _, c := range clients {
		for c.frames.Load() < n {
			time.Sleep(time.Millisecond)
		}
	}
}
