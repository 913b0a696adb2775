package realtime

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// TestConnectionsAreReadInLargePieces: with and without TLS, and through
// whatever dials.
func TestConnectionsAreReadInLargePieces(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") })
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secure.Close()
	for url, base := range map[string]*http.Client{plain.URL: {}, plain.URL + "/": plain.Client(), secure.URL: secure.Client()} {
		client, idle := bigReads(base)
		require.NotSame(t, base, client)
		ctx, under := traceConn(t.Context())
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		require.NoError(t, err)
		response, err := client.Do(request)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, "hello", string(body))
		require.NotNil(t, under(), url)
		idle()
	}
	plain.Client().CloseIdleConnections()
	secure.Client().CloseIdleConnections()
}

type ownTransport struct{ http.RoundTripper }

// TestTransportsOfOthersStayAsTheyAre: there is no telling how they dial.
func TestTransportsOfOthersStayAsTheyAre(t *testing.T) {
	base := &http.Client{Transport: ownTransport{http.DefaultTransport}}
	client, idle := bigReads(base)
	require.Same(t, base, client)
	idle()
	_, under := traceConn(t.Context())
	require.Nil(t, under())
	require.False(t, under().frames())
}

// serverFrame is a frame as a server writes it.
func serverFrame(first byte, payload string) string {
	n := len(payload)
	switch {
	case n < 126:
		return string([]byte{first, byte(n)}) + payload
	case n < 1<<16:
		return string([]byte{first, 126, byte(n >> 8), byte(n)}) + payload
	}
	return string([]byte{first, 127, 0, 0, 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}) + payload
}

const head = "HTTP/1.1 101 Switching Protocols\r\n\r\n"

// piecewise is a connection that gives what it has in pieces.
type piecewise struct {
	net.Conn
	text   string
	random *rand.Rand
	most   int
}

func (p *piecewise) Read(b []byte) (int, error) {
	if p.text == "" {
		return 0, io.EOF
	}
	n := copy(b, p.text[:min(len(p.text), 1+p.random.IntN(p.most))])
	p.text = p.text[n:]
	return n, nil
}

// TestFramesAreTakenAhead: whatever pieces a connection comes in, frames that
// are taken ahead and what is left to the library are together what was sent,
// in order, and only whole text frames are taken.
func TestFramesAreTakenAhead(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	taken := 0
	for range 60 {
		var sent []string
		for range 1 + random.IntN(40) {
			size := []int{0, 1, 125, 126, 1000, 65535, 65536, 70000}[random.IntN(8)]
			first := []byte{0x81, 0x81, 0x81, 0x82, 0x89, 0x01, 0xc1}[random.IntN(7)]
			if first == 0x89 {
				size = min(size, 125)
			}
			sent = append(sent, serverFrame(first, strings.Repeat("x", size)))
			if first == 0x01 { // a message in three frames, with a ping between
				sent = append(sent, serverFrame(0x00, "y"), serverFrame(0x8a, ""), serverFrame(0x80, "z"))
			}
		}
		most := []int{1, 100, 5000, 200_000}[random.IntN(4)]
		if most == 1 {
			sent = []string{serverFrame(0x81, "one"), serverFrame(0x89, "two"), serverFrame(0x81, "three")}
		}
		b := newBigReader(&piecewise{text: head + strings.Join(sent, ""), random: random, most: most})
		readHead(t, b)
		require.True(t, b.frames())
		var got strings.Builder
		for {
			if text, ok := b.frame(); ok {
				taken++
				got.WriteString(serverFrame(0x81, string(text)))
				continue
			}
			b.letGo()
			frame, ok := readFrame(t, b)
			b.hold()
			if !ok {
				break
			}
			got.WriteString(frame)
		}
		require.Equal(t, strings.Join(sent, ""), got.String())
	}
	require.Greater(t, taken, 100)
}

func readHead(t *testing.T, b *bigReader) {
	var got []byte
	for !strings.HasSuffix(string(got), "\r\n\r\n") {
		p := make([]byte, 1)
		_, err := io.ReadFull(b, p)
		require.NoError(t, err)
		got = append(got, p...)
	}
}

// readFrame reads one frame as the library does: through a buffer, which must
// have nothing left in the end.
func readFrame(t *testing.T, b *bigReader) (string, bool) {
	r := bufio.NewReader(b)
	var frame []byte
	take := func(n int) bool {
		p := make([]byte, n)
		_, err := io.ReadFull(r, p)
		frame = append(frame, p...)
		return err == nil
	}
	if !take(2) {
		return "", false
	}
	size := int64(frame[1])
	switch size {
	case 126:
		require.True(t, take(2))
	case 127:
		require.True(t, take(8))
	}
	h, ok := headerOf(frame)
	require.True(t, ok)
	require.True(t, take(int(h.size)-len(frame)))
	require.Zero(t, r.Buffered())
	return string(frame), true
}

// TestFramesThatComeWithTheHead: of those, net/http has read some, so that
// there is no telling where a frame begins.
func TestFramesThatComeWithTheHead(t *testing.T) {
	b := newBigReader(&piecewise{text: head + serverFrame(0x81, "early"), random: rand.New(rand.NewPCG(1, 2)), most: 1 << 20})
	all, err := io.ReadAll(b)
	require.NoError(t, err)
	require.Equal(t, head+serverFrame(0x81, "early"), string(all))
	require.False(t, b.frames())
	_, ok := b.frame()
	require.False(t, ok)
}

// TestMaskedFramesAreLeftToTheLibrary: no server may send them.
func TestMaskedFramesAreLeftToTheLibrary(t *testing.T) {
	masked := "\x81\x85mask12345" + serverFrame(0x81, "after")
	b := newBigReader(&piecewise{text: head + masked, random: rand.New(rand.NewPCG(1, 2)), most: len(head)})
	b.Conn.(*piecewise).random = rand.New(rand.NewPCG(3, 4))
	readHead(t, b)
	require.True(t, b.frames())
	_, ok := b.frame()
	require.False(t, ok)
	require.False(t, b.await())
	b.letGo()
	all, err := io.ReadAll(b)
	require.NoError(t, err)
	require.Equal(t, masked, string(all))
}

// TestCloseWaitsForTheReader: a Close reads when the reader is done with its
// frame, and does not stop the clock until then.
func TestCloseWaitsForTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		b := newBigReader(near)
		go func() { _, _ = io.WriteString(far, head+serverFrame(0x81, "a")+serverFrame(0x88, "")) }()
		readHead(t, b)
		require.True(t, b.frames())
		text, ok := b.frame()
		for !ok && b.await() {
			text, ok = b.frame()
		}
		require.Equal(t, "a", string(text))
		var closed atomic.Bool
		go func() {
			frame, ok := readFrame(t, b)
			closed.Store(ok && frame == serverFrame(0x88, ""))
		}()
		time.Sleep(time.Hour)
		require.False(t, closed.Load())
		require.False(t, b.await())
		b.letGo()
		synctest.Wait()
		require.True(t, closed.Load())
		require.NoError(t, near.Close())
	})
}

// TestFramesAheadOfTheLibrary: the library and what is taken ahead of it share
// a connection, with TLS and without; pings are answered, fragments put
// together, and nothing is lost or out of order.
func TestFramesAheadOfTheLibrary(t *testing.T) {
	const messages = 1000
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		if _, _, err = conn.Read(r.Context()); err != nil { // a client begins, as one of Realtime does
			return
		}
		closed := conn.CloseRead(r.Context())
		for i := range messages {
			switch {
			case i%100 == 50:
				err = conn.Ping(closed)
			case i%70 == 0:
				err = fragments(closed, conn, i)
			default:
				err = conn.Write(closed, websocket.MessageText, fmt.Appendf(nil, "%d%*s", i, i%3000, ""))
			}
			if err != nil {
				return
			}
		}
		_ = conn.Close(websocket.StatusNormalClosure, "")
	})
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secure.Close()
	for _, server := range []*httptest.Server{plain, secure} {
		client, idle := bigReads(server.Client())
		ctx, under := traceConn(t.Context())
		conn, _, err := websocket.Dial(ctx, server.URL, &websocket.DialOptions{HTTPClient: client})
		require.NoError(t, err)
		b := under()
		require.True(t, b.frames())
		require.NoError(t, conn.Write(t.Context(), websocket.MessageText, []byte("begin")))
		ahead := 0
		for i := range messages {
			if i%100 == 50 {
				continue
			}
			text, ok := b.frame()
			for !ok && b.await() {
				text, ok = b.frame()
			}
			if ok {
				ahead++
			} else {
				b.letGo()
				_, text, err = conn.Read(t.Context())
				b.hold()
				require.NoError(t, err)
			}
			require.Equal(t, fmt.Sprintf("%d%*s", i, i%3000, ""), string(text))
		}
		_, ok := b.frame()
		require.False(t, ok)
		b.letGo()
		_, _, err = conn.Read(t.Context())
		require.Equal(t, websocket.StatusNormalClosure, websocket.CloseStatus(err))
		require.Greater(t, ahead, messages*9/10)
		_ = conn.CloseNow()
		idle()
		server.Client().CloseIdleConnections()
	}
}

// fragments writes a message in several frames.
func fragments(ctx context.Context, conn *websocket.Conn, i int) error {
	w, err := conn.Writer(ctx, websocket.MessageText)
	if err != nil {
		return err
	}
	if _, err = fmt.Fprint(w, i); err == nil {
		_, err = fmt.Fprintf(w, "%*s", i%3000, "")
	}
	return errors.Join(err, w.Close())
}
