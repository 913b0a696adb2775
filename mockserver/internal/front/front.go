package front

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gapless-go/gapless/internal/memhttp"
	"github.com/gapless-go/gapless/internal/rescue"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// Front is where clients reach a server: a listener, in memory or on a TCP
// port, and the HTTP server behind it.
type Front struct {
	URL      string
	Listener net.Listener
	http     *http.Server
	Client   *http.Client
	served   chan struct{}  // closed when the accepting goroutine has ended
	conns    sync.WaitGroup // connections that http has and did not hand over
	once     sync.Once
}

// Listen opens the listener. An empty address is a free port of 127.0.0.1.
func (f *Front) Listen(inMemory bool, addr string) error {
	if inMemory {
		l := memhttp.Listen()
		f.Client, f.Listener, f.URL = l.Client(), l, "http://mockserver.test"
		return nil
	}
	f.Client = &http.Client{Transport: &http.Transport{}}
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("mockserver: %w", err)
	}
	f.Listener, f.URL = l, "http://"+l.Addr().String()
	return nil
}

// maxHeader bounds the header of a request, and so what a query can ask for.
const maxHeader = 128 << 10

// Serve starts the accepting goroutine, which ends when close closes the
// listener and is waited for by close, as are the goroutines that it starts
// for each connection.
func (f *Front) Serve(handler http.Handler, log *slog.Logger) {
	f.served = make(chan struct{})
	f.http = &http.Server{
		Handler:           recovered(handler, log),
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    maxHeader,
		ConnState:         f.countConn,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(f.served)
		_ = f.http.Serve(f.Listener) // ErrServerClosed
	}()
}

// recovered answers a request whose handler panics, which a policy or a trigger of
// the user's may do, with status 500, and ends the connection where the answer has
// begun.
func recovered(next http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &WatchedAnswer{ResponseWriter: w}
		err := rescue.Do("a policy or trigger", func() error {
			next.ServeHTTP(answer, r)
			return nil
		})
		var panicked *rescue.Error
		switch {
		case err == nil:
			return
		case errors.Is(err, http.ErrAbortHandler):
			panic(http.ErrAbortHandler)
		case errors.As(err, &panicked):
			log.Error("a request panicked", "path", r.URL.Path, "error", err, "stack", string(panicked.Stack))
		}
		if answer.Status != 0 || answer.hijacked {
			panic(http.ErrAbortHandler)
		}
		WriteJSON(w, http.StatusInternalServerError, project.Refuse(http.StatusInternalServerError, "XX000", "%v", err))
	})
}

// WatchedAnswer knows the status that was answered.
type WatchedAnswer struct {
	http.ResponseWriter
	Status   int // 0: none yet
	hijacked bool
}

// WriteHeader notes the status.
func (a *WatchedAnswer) WriteHeader(status int) {
	if a.Status == 0 && status >= 200 {
		a.Status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implies the status 200.
func (a *WatchedAnswer) Write(b []byte) (int, error) {
	if a.Status == 0 {
		a.Status = http.StatusOK
	}
	return a.ResponseWriter.Write(b)
}

// Hijack is for websockets.
func (a *WatchedAnswer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	a.hijacked = true
	return http.NewResponseController(a.ResponseWriter).Hijack()
}

// Unwrap is for http.ResponseController.
func (a *WatchedAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// countConn counts the connections that close waits for. Those of websockets
// are their handlers'.
func (f *Front) countConn(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		f.conns.Add(1)
	case http.StateClosed, http.StateHijacked:
		f.conns.Done()
	}
}

// Close ends what sockets does first, which is to wait for them, and then every
// other connection. Twice is fine.
func (f *Front) Close(sockets func()) {
	f.once.Do(func() {
		sockets()
		_ = f.http.Close()
		<-f.served
		f.Client.CloseIdleConnections()
	})
	f.conns.Wait()
}

// WebsocketURL returns the URL of Realtime's websocket.
func (f *Front) WebsocketURL() string {
	return "ws" + strings.TrimPrefix(f.URL, "http") + "/realtime/v1/websocket"
}
