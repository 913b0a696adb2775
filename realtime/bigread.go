package realtime

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"time"
)

// readSize is how many bytes are asked of a connection at a time. The
// websocket library asks for 4 KiB, which is a system call for every few
// frames.
const readSize = 64 << 10

// headEnd is "\r\n\r\n", the end of an HTTP head.
const headEnd = '\r'<<24 | '\n'<<16 | '\r'<<8 | '\n'

// bigReader is a connection that is read in large pieces, and from which whole
// frames can be taken ahead of the websocket library: reading a frame through
// that costs more than all else that is done with it. Only text frames that
// are a message by themselves and have come completely are taken. Everything
// else is the library's: control frames, fragments, what is not allowed. So
// that it has nothing beyond the frame that it is at, Read ends at the end of
// a frame.
//
// It is a session's reader that holds it, and lets go while it calls the
// library. Who else may read is a Close, which waits for the other side to
// close, too. Holding is by a channel and not a mutex because a goroutine that
// waits for it must not stop the clock of a testing/synctest bubble.
type bigReader struct {
	net.Conn

	held       chan struct{} // capacity 1: full while somebody holds it
	buf        [readSize]byte
	r, w       int    // buf[r:w] has not been handed over
	last       uint32 // the last four bytes that were handed over
	framed     bool   // what comes is frames, and boundaries are known
	rest       int64  // of the frame that the library is at
	fragmented bool   // the library is within a message of several frames
}

func newBigReader(conn net.Conn) *bigReader {
	return &bigReader{Conn: conn, held: make(chan struct{}, 1)}
}

func (b *bigReader) hold()  { b.held <- struct{}{} }
func (b *bigReader) letGo() { <-b.held }

// frames begins with frames, where an HTTP head has just ended, and holds the
// connection. It reports false if there is no telling where that was: then Read
// alone is to be used.
func (b *bigReader) frames() bool {
	if b == nil {
		return false
	}
	b.hold()
	if b.framed = b.last == headEnd; !b.framed {
		b.letGo()
	}
	return b.framed
}

// frame takes the text of the next frame if that has come completely. It is
// valid until the next call, or letGo. The caller holds the connection.
func (b *bigReader) frame() (text []byte, ok bool) {
	if !b.framed || b.rest > 0 || b.fragmented {
		return nil, false
	}
	h, ok := headerOf(b.buf[b.r:b.w])
	if !ok || h.first != finText || h.masked || h.size > int64(b.w-b.r) {
		return nil, false
	}
	text = b.buf[b.r+h.length : b.r+int(h.size)]
	b.r += int(h.size)
	return text, true
}

// await waits until more has come of what frame takes. It reports false if that
// is not what comes next, or the connection has failed: the library will say
// how. The caller holds the connection.
func (b *bigReader) await() bool {
	if !b.framed || b.rest > 0 || b.fragmented {
		return false
	}
	h, ok := headerOf(b.buf[b.r:b.w])
	if ok && (h.first != finText || h.masked || h.size > readSize) {
		return false
	}
	return b.fill() == nil
}

func (b *bigReader) Read(p []byte) (int, error) {
	b.hold()
	defer b.letGo()
	if b.framed {
		return b.readFrame(p)
	}
	if b.r == b.w {
		if err := b.fill(); err != nil {
			return 0, err
		}
	}
	n := b.take(p, int64(b.w-b.r))
	for _, c := range p[max(0, n-4):n] {
		b.last = b.last<<8 | uint32(c)
	}
	return n, nil
}

// readFrame is Read up to the end of a frame.
func (b *bigReader) readFrame(p []byte) (int, error) {
	for b.rest == 0 {
		h, ok := headerOf(b.buf[b.r:b.w])
		if !ok {
			if err := b.fill(); err != nil {
				return 0, err
			}
			continue
		}
		b.rest = h.size
		if h.size < 0 || h.masked { // no server sends that, and the library will say so
			b.framed = false
			b.rest = 0
			return b.take(p, int64(b.w-b.r)), nil
		}
		if opcode := h.first & 0x0f; opcode < 8 { // no control frame
			b.fragmented = h.first&0x80 == 0
		}
	}
	if b.r == b.w {
		if err := b.fill(); err != nil {
			return 0, err
		}
	}
	n := b.take(p, b.rest)
	b.rest -= int64(n)
	return n, nil
}

// take hands over up to n bytes of what is there.
func (b *bigReader) take(p []byte, n int64) int {
	taken := copy(p[:min(int64(len(p)), n)], b.buf[b.r:b.w])
	b.r += taken
	return taken
}

// fill reads more, behind what is there.
func (b *bigReader) fill() error {
	b.w = copy(b.buf[:], b.buf[b.r:b.w])
	b.r = 0
	n, err := b.Conn.Read(b.buf[b.w:])
	b.w += n
	if n > 0 {
		return nil // an error comes again
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// finText is the first byte of a text frame that is a message by itself.
const finText = 0x81

// header is the head of a frame.
type header struct {
	first  byte
	masked bool
	length int   // its own
	size   int64 // of the frame, head and all
}

// headerOf reads the head that text begins with. It reports false if that has
// not come completely.
func headerOf(text []byte) (h header, ok bool) {
	if len(text) < 2 {
		return h, false
	}
	h.first, h.masked, h.length = text[0], text[1]&0x80 != 0, 2
	switch n := text[1] & 0x7f; n {
	case 126:
		if len(text) < 4 {
			return h, false
		}
		h.length, h.size = 4, int64(binary.BigEndian.Uint16(text[2:]))+4
	case 127:
		if len(text) < 10 {
			return h, false
		}
		h.length, h.size = 10, int64(binary.BigEndian.Uint64(text[2:]))+10
	default:
		h.size = int64(n) + 2
	}
	return h, true
}

// bigReads returns a client like the given one whose connections are
// bigReaders, and what closes those that it does not use any more. A client
// with a transport of another kind than net/http's, or one that dials in its
// own way, is returned as it is.
func bigReads(client *http.Client) (big *http.Client, closeIdle func()) {
	base := client.Transport
	if base == nil {
		base = http.DefaultTransport
	}
	transport, ok := base.(*http.Transport)
	//lint:ignore SA1019 a user may have set them
	if !ok || transport.DialTLSContext != nil || transport.DialTLS != nil || transport.Dial != nil && transport.DialContext == nil {
		return client, func() {}
	}
	transport = transport.Clone()
	d := dialer{dial: transport.DialContext, config: transport.TLSClientConfig, timeout: transport.TLSHandshakeTimeout}
	if d.dial == nil {
		d.dial = new(net.Dialer).DialContext
	}
	transport.DialContext, transport.DialTLSContext = d.plain, d.secure
	copied := *client
	copied.Transport = transport
	return &copied, transport.CloseIdleConnections
}

// dialer dials as net/http's transport does for a websocket.
type dialer struct {
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	config  *tls.Config // may be nil
	timeout time.Duration
}

func (d dialer) plain(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return newBigReader(conn), nil
}

func (d dialer) secure(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{}
	if d.config != nil {
		config = d.config.Clone()
	}
	config.NextProtos = nil // a websocket is HTTP/1.1
	if config.ServerName == "" {
		if config.ServerName, _, err = net.SplitHostPort(address); err != nil {
			config.ServerName = address
		}
	}
	if d.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.timeout)
		defer cancel()
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return newBigReader(secure), nil
}

// traceConn returns a context for a request, and where the connection will be
// found that it went over: nil if that is no bigReader, or something else is
// between that and the request.
func traceConn(ctx context.Context) (context.Context, func() *bigReader) {
	var conn net.Conn
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { conn = i.Conn }}
	return httptrace.WithClientTrace(ctx, trace), func() *bigReader {
		big, _ := conn.(*bigReader)
		return big
	}
}
