package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/gapless-go/gapless/internal/transcript"
	"github.com/gapless-go/gapless/mockserver/internal/front"
)

// PlayerConfig says how a transcript is played.
type PlayerConfig struct {
	// Name is that of the transcript in errors; empty: its scenario.
	Name string
	// Speed is how fast what the server says follows what was before it: 1 as in
	// the recording, 2 twice as fast; 0: at once.
	Speed float64

	// InMemory and Addr are as those of Config.
	InMemory bool
	Addr     string

	// Logger receives what the player does; nil: nothing is logged.
	Logger *slog.Logger
}

// Player is a server that plays the server's side of a transcript, once, to a
// client that behaves as the recorded one did. It is safe for concurrent use.
//
// Whatever the server said comes when everything that clients had sent before
// it has come; what clients send may come early. The n-th socket that opens
// with the vsn of a recorded one is taken for it, and what it sends on a topic
// is compared with what the recorded one sent on it, in that order: refs may be
// others, and so may be keys and tokens, times in ISO 8601, the time of since,
// and UUIDs that the client made up, as long as one stands for the same one all
// the time. In what the server says, refs and such UUIDs are the client's.
//
// Heartbeats are answered whenever they come, if the recorded one of that
// number was. Requests to other paths are answered as recorded, each answer
// once; a redacted token in one becomes a token signed with DefaultSecret that
// is good for an hour, and expires_at beside it is then. Recorded SQL statements and notes are passed over, as
// are requests that were not made through a Recorder.
type Player struct {
	front front.Front
	name  string
	speed float64
	log   *slog.Logger

	ctx  context.Context // ends with Close, and with a difference
	stop context.CancelFunc
	wg   sync.WaitGroup // the player and sockets; Add under mu

	mu      sync.Mutex
	closed  bool
	steps   []*step
	at      int           // the step that the player is at
	moved   chan struct{} // closed, and made anew, when a step has come
	matcher matcher
	err     error         // the first difference
	over    chan struct{} // closed when the player has ended
}

// NewPlayer reads a transcript, as Recorder writes it, and starts a server for
// it. The error gives the line that cannot be read, or says that the address
// cannot be listened on.
func NewPlayer(r io.Reader, cfg PlayerConfig) (*Player, error) {
	if cfg.InMemory && cfg.Addr != "" {
		return nil, errors.New("mockserver: PlayerConfig.InMemory and Addr are both set")
	}
	if cfg.Speed < 0 {
		return nil, fmt.Errorf("mockserver: PlayerConfig.Speed is %v", cfg.Speed)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	t, err := transcript.Read(cfg.Name, r)
	if err != nil {
		return nil, fmt.Errorf("mockserver: %w", err)
	}
	if cfg.Name == "" {
		cfg.Name = t.Scenario
	}
	steps, err := readSteps(t)
	if err != nil {
		return nil, fmt.Errorf("mockserver: transcript %s: %w", cfg.Name, err)
	}
	p := &Player{
		name: cfg.Name, speed: cfg.Speed, log: cfg.Logger, steps: steps,
		moved: make(chan struct{}), over: make(chan struct{}), matcher: newMatcher(),
	}
	if err := p.front.Listen(cfg.InMemory, cfg.Addr); err != nil {
		return nil, err
	}
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.wg.Add(1)
	go p.play() // ends with p.ctx, or with the transcript; Close waits
	p.front.Serve(p.routes(), p.log)
	return p, nil
}

func (p *Player) routes() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			p.serveSocket(w, r)
			return
		}
		p.serveRequest(w, r)
	})
}

// URL returns the URL that the client is given in the place of the project's.
func (p *Player) URL() string { return p.front.URL }

// WebsocketURL returns the URL of Realtime's websocket, without an API key.
func (p *Player) WebsocketURL() string { return p.front.WebsocketURL() }

// HTTPClient returns a client that reaches the player, in memory too.
func (p *Player) HTTPClient() *http.Client { return p.front.Client }

// Wait waits for the end of the transcript, a difference, Close, or the end of
// ctx, and returns nil, a *DifferenceError, ErrPlayerClosed, or an error that
// wraps the cause of ctx and names the line that has not come.
func (p *Player) Wait(ctx context.Context) error {
	select {
	case <-p.over:
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.err
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	waiting := "the transcript is over"
	if p.at < len(p.steps) {
		waiting = "still at " + p.steps[p.at].String()
	}
	return fmt.Errorf("mockserver: transcript %s: %s: %w", p.name, waiting, context.Cause(ctx))
}

// ErrPlayerClosed is what Player.Wait returns when Close came first.
var ErrPlayerClosed = errors.New("mockserver: the player was closed before its end")

// Close ends every connection, without a close frame. It is safe to call
// twice; the error is always nil.
func (p *Player) Close() error {
	p.front.Close(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.fail(ErrPlayerClosed)
		p.wg.Wait()
	})
	return nil
}

// DifferenceError is the first thing in which a client differs from the
// recorded one.
type DifferenceError struct {
	Transcript string
	Line       int    // of the file, from 1; 0: the recording has nothing of the kind
	Socket     string // as the transcript names it
	What       string // the recorded line in short, such as: send phx_join of realtime:orders
	At         string // where in the message they differ, such as payload.config.private
	Want, Got  string // what is there, or the whole message; without keys and tokens
}

// Error names the line and the place, and gives both values, cut short.
func (e *DifferenceError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "mockserver: the client differs from transcript %s", e.Transcript)
	if e.Line > 0 {
		fmt.Fprintf(&b, " line %d", e.Line)
	}
	if e.Socket != "" {
		fmt.Fprintf(&b, " (socket %s)", e.Socket)
	}
	fmt.Fprintf(&b, ", %s", e.What)
	if e.At != "" {
		fmt.Fprintf(&b, ", at %s", e.At)
	}
	fmt.Fprintf(&b, ": want %s, got %s", cut(e.Want), cut(e.Got))
	return b.String()
}

// cut bounds what an error says.
func cut(s string) string {
	const most = 300
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// fail ends the play for a reason, the first of which counts.
func (p *Player) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failLocked(err)
}

func (p *Player) failLocked(err error) {
	select {
	case <-p.over:
	default:
		if p.err == nil {
			p.err = err
			p.log.Debug("the player ends", "reason", err)
		}
	}
	p.stop()
}
