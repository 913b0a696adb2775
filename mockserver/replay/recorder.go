package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/gapless-go/gapless/internal/transcript"
	"github.com/gapless-go/gapless/mockserver/internal/front"
)

// RecorderConfig says what a Recorder records and where it listens.
type RecorderConfig struct {
	// Upstream is the URL of the project, such as https://abc.supabase.co.
	Upstream string
	// Client reaches it; nil: a client of the recorder's own. A recorder before a
	// server in memory is given Server.HTTPClient.
	Client *http.Client
	// Scenario is the name that the transcript gives itself; empty: "recording".
	Scenario string

	// InMemory and Addr are as those of Config.
	InMemory bool
	Addr     string

	// Logger receives what the recorder does, without keys and tokens; nil:
	// nothing is logged.
	Logger *slog.Logger
}

// Recorder is a proxy between a client and a project that writes down what
// passes: the frames of every socket, in both serializers, with when and how
// sockets open and end, and the requests to all other paths with their answers.
//
// The transcript is in JSON, one object a line, in the order in which things
// came to the proxy. Binary frames are in base64. Keys, tokens and passwords
// are taken out before anything is written: what looks like a JWT or a key that
// begins with sb_ wherever it stands, and the values of members, parameters
// and headers whose names say that they are secret, such as apikey,
// access_token, password and Authorization. All else is written as it is: a
// transcript of real rows holds real rows.
//
// Pings are answered by the proxy and not passed on, compression is not
// offered, and of an HTTP body of more than 8 MiB it is only written that there
// was one. An answer passes on as it comes. It is safe for concurrent use.
type Recorder struct {
	front    front.Front
	upstream *url.URL
	dialer   *http.Client // reaches upstream
	own      bool         // the dialer is the recorder's
	log      *slog.Logger
	file     *transcript.Writer

	ctx    context.Context // ends with Close
	stop   context.CancelFunc
	wg     sync.WaitGroup // sockets; Add under mu
	mu     sync.Mutex
	closed bool
	opened int // sockets, ever
	asked  int // requests, ever
}

// NewRecorder starts a recorder, which writes the transcript to w while it
// goes on. The error says what is wrong with the URL, or that the address
// cannot be listened on.
func NewRecorder(w io.Writer, cfg RecorderConfig) (*Recorder, error) {
	upstream, err := url.Parse(cfg.Upstream)
	if err != nil || upstream.Host == "" || upstream.Scheme != "http" && upstream.Scheme != "https" {
		return nil, errors.New("mockserver: RecorderConfig.Upstream is not the http or https URL of a project")
	}
	if cfg.InMemory && cfg.Addr != "" {
		return nil, errors.New("mockserver: RecorderConfig.InMemory and Addr are both set")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Scenario == "" {
		cfg.Scenario = "recording"
	}
	r := &Recorder{upstream: upstream, dialer: cfg.Client, log: cfg.Logger}
	if r.dialer == nil {
		r.dialer, r.own = &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}, true
	}
	if err := r.front.Listen(cfg.InMemory, cfg.Addr); err != nil {
		return nil, err
	}
	r.file = transcript.NewWriter(w, transcript.Transcript{Scenario: cfg.Scenario, Notes: "recorded by a proxy; keys and tokens are redacted"})
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.front.Serve(r.routes(), r.log)
	return r, nil
}

func (r *Recorder) routes() http.Handler {
	others := r.httpProxy()
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.log.LogAttrs(req.Context(), slog.LevelDebug, "request", slog.String("method", req.Method), slog.String("path", req.URL.Path))
		if strings.EqualFold(req.Header.Get("Upgrade"), "websocket") {
			r.serveSocket(w, req)
			return
		}
		others.ServeHTTP(w, req)
	})
}

// URL returns the URL that clients are given in the place of the project's.
func (r *Recorder) URL() string { return r.front.URL }

// WebsocketURL returns the URL of Realtime's websocket, without an API key.
func (r *Recorder) WebsocketURL() string { return r.front.WebsocketURL() }

// HTTPClient returns a client that reaches the recorder, in memory too.
func (r *Recorder) HTTPClient() *http.Client { return r.front.Client }

// Close ends every connection, without a close frame, and waits for what is
// under way. The error is that of writing the transcript, which then has
// nothing of what came after it. It is safe to call twice.
func (r *Recorder) Close() error {
	r.front.Close(func() {
		r.mu.Lock()
		r.closed = true
		r.mu.Unlock()
		r.stop()
		r.wg.Wait()
	})
	if r.own {
		r.dialer.CloseIdleConnections()
	}
	if err := r.file.Err(); err != nil {
		return fmt.Errorf("mockserver: the transcript is not whole: %w", err)
	}
	return nil
}

// enter counts a socket that Close waits for and gives it a name: a to z, then
// s27 and so on.
func (r *Recorder) enter() (name string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return "", false
	}
	r.wg.Add(1)
	r.opened++
	if r.opened <= 26 {
		return string(rune('a' + r.opened - 1)), true
	}
	return "s" + strconv.Itoa(r.opened), true
}

// ask gives a request a name.
func (r *Recorder) ask() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	return "http" + strconv.Itoa(r.asked)
}
