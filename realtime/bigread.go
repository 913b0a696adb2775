package realtime

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
)

// readSize is how many bytes are asked of a connection at a time. The
// websocket library asks for 4 KiB, which is a system call for every few
// frames.
const readSize = 64 << 10

// bigReader is a connection that is read in large pieces. It is read by one
// goroutine at a time: a session's reader, and in the end whoever closes the
// websocket and waits for the other side to do so, too.
type bigReader struct {
	net.Conn
	before func() // called before the connection is read, which may block
	buf    [readSize]byte
	r, w   int          // buf[r:w] has not been handed over
	left   atomic.Int32 // w - r
}

func (b *bigReader) Read(p []byte) (int, error) {
	if b.r == b.w {
		if b.before != nil {
			b.before()
		}
		n, err := b.Conn.Read(b.buf[:])
		b.r, b.w = 0, n
		if err != nil && n == 0 {
			return 0, err
		}
	}
	n := copy(p, b.buf[b.r:b.w])
	b.r += n
	b.left.Store(int32(b.w - b.r))
	return n, nil
}

// more reports whether there is something to hand over, for which Read will
// be called again. It is safe for concurrent use.
func (b *bigReader) more() bool { return b != nil && b.left.Load() > 0 }

// bigReads returns a client like the given one whose connections are
// bigReaders, and what closes those that it does not use any more. A client
// with a transport of another kind than net/http's is returned as it is.
func bigReads(client *http.Client) (big *http.Client, closeIdle func()) {
	base := client.Transport
	if base == nil {
		base = http.DefaultTransport
	}
	transport, ok := base.(*http.Transport)
	if !ok {
		return client, func() {}
	}
	transport = transport.Clone()
	dial := transport.DialContext
	//lint:ignore SA1019 a user may have set it
	if dial == nil && transport.Dial != nil {
		return client, func() {}
	}
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &bigReader{Conn: conn}, nil
	}
	copied := *client
	copied.Transport = transport
	return &copied, transport.CloseIdleConnections
}

// traceConn returns a context for a request, and where the connection will be
// found that it went over: nil if that is no bigReader.
func traceConn(ctx context.Context) (context.Context, func() *bigReader) {
	var conn net.Conn
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { conn = i.Conn }}
	return httptrace.WithClientTrace(ctx, trace), func() *bigReader {
		if secure, ok := conn.(*tls.Conn); ok {
			conn = secure.NetConn()
		}
		big, _ := conn.(*bigReader)
		return big
	}
}
