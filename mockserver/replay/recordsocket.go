package replay

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/coder/websocket"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/redact"
	"github.com/gapless-go/gapless/internal/transcript"
	"github.com/gapless-go/gapless/mockserver/internal/rawjson"
	"github.com/gapless-go/gapless/mockserver/internal/wire"
)

// maxProxied bounds a frame that passes through. It is well over what either
// side of Realtime sends.
const maxProxied = 64 << 20

// proxied is a socket that is recorded. Two goroutines pass its frames on, one
// of them that of the HTTP request; the first that ends says how the socket
// ended, and ends the other one.
type proxied struct {
	r        *Recorder
	name     string
	version  phoenix.Version
	down, up *websocket.Conn // to the client, to the server
	ctx      context.Context
	cancel   context.CancelFunc

	mu     sync.Mutex
	closed bool // the end is recorded, and nothing behind it
}

// serveSocket passes on a socket until it ends.
func (r *Recorder) serveSocket(w http.ResponseWriter, req *http.Request) {
	name, ok := r.enter()
	if !ok {
		http.Error(w, "the recorder is closed", http.StatusServiceUnavailable)
		return
	}
	defer r.wg.Done()
	p := &proxied{r: r, name: name}
	p.version, _ = wire.VersionOf(req)
	p.ctx, p.cancel = context.WithCancel(r.ctx)
	defer p.cancel()
	p.meta("open", redact.URL(req.URL))
	if !p.dial(w, req) {
		return
	}
	defer func() { _ = p.up.CloseNow() }()
	p.meta("opened", "") // before the client knows, and does what it does then
	var err error
	p.down, err = websocket.Accept(w, req, &websocket.AcceptOptions{
		InsecureSkipVerify: true, Subprotocols: subprotocols(p.up.Subprotocol()), CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		p.close("client", err)
		return // and Accept has answered
	}
	defer func() { _ = p.down.CloseNow() }()
	var back sync.WaitGroup
	back.Go(func() { p.pass("recv", "server", p.up, p.down) })
	p.pass("send", "client", p.down, p.up)
	back.Wait()
}

func subprotocols(chosen string) []string {
	if chosen == "" {
		return nil
	}
	return []string{chosen}
}

// dial opens the socket to the server, or passes its refusal on.
func (p *proxied) dial(w http.ResponseWriter, req *http.Request) bool {
	target := *p.r.upstream
	target.Path = strings.TrimSuffix(target.Path, "/") + req.URL.Path
	target.RawQuery = req.URL.RawQuery
	up, answer, err := websocket.Dial(p.ctx, target.String(), &websocket.DialOptions{
		HTTPClient: p.r.dialer, HTTPHeader: forwarded(req.Header), CompressionMode: websocket.CompressionDisabled,
		Subprotocols: strings.FieldsFunc(req.Header.Get("Sec-Websocket-Protocol"), func(c rune) bool { return c == ',' || c == ' ' }),
	})
	if err == nil {
		up.SetReadLimit(maxProxied)
		p.up = up
		return true
	}
	refused := refusedUpgrade{Status: http.StatusBadGateway}
	if answer != nil {
		body, _ := io.ReadAll(answer.Body) // Dial has kept the first 1024 bytes
		refused = refusedUpgrade{Status: answer.StatusCode, ContentType: answer.Header.Get("Content-Type"), Body: string(body)}
	}
	p.meta("upgrade_refused", redact.String(string(rawjson.Must(refused))))
	p.r.log.Debug("upgrade refused", "socket", p.name, "status", refused.Status)
	refused.send(w)
	return false
}

// forwarded returns the headers of an upgrade that are passed on: all but
// those of this connection.
func forwarded(header http.Header) http.Header {
	out := header.Clone()
	for name := range out {
		if strings.HasPrefix(name, "Sec-Websocket-") {
			out.Del(name)
		}
	}
	for _, name := range []string{"Connection", "Upgrade", "Host", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding"} {
		out.Del(name)
	}
	return out
}

// refusedUpgrade is what a transcript has of a refused upgrade.
type refusedUpgrade struct {
	Status      int    `json:"status"`
	ContentType string `json:"content_type,omitempty"`
	Body        string `json:"body"`
}

func (a refusedUpgrade) send(w http.ResponseWriter) {
	if a.ContentType != "" {
		w.Header().Set("Content-Type", a.ContentType)
	}
	w.WriteHeader(a.Status)
	_, _ = io.WriteString(w, a.Body) // the client is gone, or has it
}

// pass records and passes on what comes from one side until that ends.
func (p *proxied) pass(dir, side string, from, to *websocket.Conn) {
	from.SetReadLimit(maxProxied)
	for {
		typ, frame, err := from.Read(p.ctx)
		if err != nil {
			p.close(side, err)
			hangUp(to, err)
			p.cancel()
			return
		}
		p.record(dir, typ == websocket.MessageBinary, frame)
		if to.Write(p.ctx, typ, frame) != nil {
			continue // the other goroutine tells how that side ended
		}
	}
}

// record writes a frame down.
func (p *proxied) record(dir string, binary bool, frame []byte) {
	from := phoenix.FromServer
	if dir == "send" {
		from = phoenix.FromClient
	}
	safe := redact.Frame(p.version, from, binary, frame)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.r.file.Add(transcript.FrameLine(p.name, dir, binary, safe))
}

func (p *proxied) meta(dir, text string) {
	p.r.file.Add(transcript.Line{Conn: p.name, Dir: dir, Kind: "meta", Frame: text})
}

// ended is what a transcript has of a socket's end. By is client or server;
// the recordings of package transcript do not have it.
type ended struct {
	Code   int    `json:"code"`
	Reason string `json:"reason"`
	By     string `json:"by,omitempty"`
}

// close records the end of the socket, once: 1006 where there was no close
// frame. The recorder's own end is none of the conversation's.
func (p *proxied) close(side string, err error) {
	end := ended{Code: int(websocket.StatusAbnormalClosure), By: side}
	var frame websocket.CloseError
	if errors.As(err, &frame) {
		end.Code, end.Reason = int(frame.Code), redact.String(frame.Reason)
	} else if p.r.ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		p.meta("close", string(rawjson.Must(end)))
	}
}

// hangUp ends a socket as the other one ended.
func hangUp(ws *websocket.Conn, err error) {
	var frame websocket.CloseError
	if errors.As(err, &frame) {
		_ = ws.Close(frame.Code, frame.Reason) // waits for the answer, for a few seconds
		return
	}
	_ = ws.CloseNow()
}
