// Package memhttp is HTTP without a network: a listener whose connections are
// pipes in memory. Inside a testing/synctest bubble a goroutine that waits on
// one is durably blocked, so that virtual time moves on; one that waits on a
// real socket never is.
package memhttp

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// Listener is a net.Listener that is reached by its Dial.
type Listener struct {
	conns chan net.Conn
	done  chan struct{}
	close func()
}

// Listen returns a listener. Close it in the end.
func Listen() *Listener {
	l := &Listener{conns: make(chan net.Conn), done: make(chan struct{})}
	l.close = sync.OnceFunc(func() { close(l.done) })
	return l
}

// Accept waits for a Dial.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and Dial with net.ErrClosed. Connections live on.
func (l *Listener) Close() error {
	l.close()
	return nil
}

// Addr is no address that anybody could dial.
func (l *Listener) Addr() net.Addr { return addr{} }

type addr struct{}

func (addr) Network() string { return "memory" }
func (addr) String() string  { return "memory" }

// Dial connects to the listener, as soon as it accepts.
func (l *Listener) Dial(ctx context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	err := error(&net.OpError{Op: "dial", Net: "memory", Addr: addr{}, Err: net.ErrClosed})
	select {
	case l.conns <- server:
		return client, nil
	case <-l.done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	_, _ = client.Close(), server.Close()
	return nil, err
}

// Client returns an HTTP client that dials the listener whatever the URL's
// host. Its idle connections are to be closed in the end
// (http.Client.CloseIdleConnections).
func (l *Listener) Client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) },
	}}
}
