package realtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/secret"
)

// Options says where the project is and how to talk to it. URL and Key are
// required; the zero value of every other field is its default.
type Options struct {
	// URL is the project's address, https://ref.supabase.co, or that of a
	// self-hosted stack, or of a Realtime server itself, ws://host:4000/socket.
	URL string
	// ProjectURL is where the project's other APIs are, for Do, if URL does not
	// tell: it is that of a Realtime server itself, or the APIs are elsewhere.
	// Default: made from URL.
	ProjectURL string
	// Key is the project's API key: the anon or service_role JWT, or an
	// sb_publishable_… or sb_secret_… key, which only the hosted gateway
	// understands. It goes into the query of the websocket's address, into the
	// headers of the requests of Do and Broadcast, and nowhere else.
	Key string
	// Token gives the tokens of a signed-in user. Nil: channels join with the
	// rights of Key.
	Token TokenSource

	// ProtocolVersion is the version of the protocol, "2.0.0" (default, needs a server of
	// November 2025 or later) or "1.0.0".
	ProtocolVersion string
	// HTTPClient dials, and makes the requests of Do and Broadcast. Default
	// http.DefaultClient; a Timeout bounds the dial, and each of those requests.
	HTTPClient *http.Client
	// Header is added to every request: the upgrade, and those of Do and
	// Broadcast, as far as they do not set it themselves. apikey and
	// Authorization are the client's own.
	Header http.Header

	// ConnectTimeout bounds one attempt to connect. Default 20 s.
	ConnectTimeout time.Duration
	// ReconnectMin and ReconnectMax bound the wait before another attempt: it
	// is uniform between 0 and ReconnectMin·2ⁿ, at most ReconnectMax. Default
	// 500 ms and 30 s.
	ReconnectMin, ReconnectMax time.Duration
	// Heartbeat is the time between heartbeats, at most 30 s: the server closes
	// a socket that is silent for 60 s. Default 25 s.
	Heartbeat time.Duration
	// HeartbeatTimeout is how long the server may take to answer one before
	// the socket counts as dead. Default 15 s. Time in which the server is busy
	// with a join, or in which this client does not read because a subscription
	// blocks it, does not count.
	HeartbeatTimeout time.Duration
	// JoinTimeout is how long the server may take to answer a join, counted
	// from its answer to the join before, as it takes one at a time. Default
	// 40 s: a cold project takes up to 30 s, a refusal alone 5 s.
	JoinTimeout time.Duration
	// ReadLimit is the size in bytes over which a frame ends the connection.
	// Default 32 MiB; at least 16 MiB, since the server sends large ones.
	ReadLimit int64
	// SendBuffer is how many messages may wait to be written. Default 512.
	SendBuffer int

	// FailFast makes an answer 400, 401, 403 or 404 to the upgrade final at once.
	// By default one is final only if the client has never been connected;
	// otherwise it is tried again with backoff, as gateways and restarting projects
	// answer so, too, and becomes final when it has persisted: at least 5 such
	// answers over at least 3 minutes. Meanwhile Hooks.Failed, Logger, the errors of
	// Connect and channel.Channel.WaitLive and channel.Status show it. Redirects and
	// HTML pages are never final.
	FailFast bool

	// Logger gets a record of every connection, join and loss. Default: none.
	Logger *slog.Logger
	// Hooks are called as things happen.
	Hooks Hooks
}

// TokenSource returns a token and when it expires. It is called by one
// goroutine at a time, ahead of the expiry of the token before, and after the
// server refused one; it should return a new token then, not the one before.
// The expiry is by this machine's clock. The token's claim exp counts, too, if it
// is earlier: it is by the server's clock, whose difference from this machine's
// is learnt from the header Date of the server's answers, so that a clock that is
// an hour off does no harm. Before the first answer the claim does not count. A
// zero expiry and no claim is a token that does not expire.
//
// An error is tried again with backoff, until it is wrapped by Permanent.
type TokenSource func(ctx context.Context) (token string, expiry time.Time, err error)

// Hooks are functions that the client calls as things happen, for metrics and
// alarms. Any may be nil. One goroutine calls them and the Logger, in order, apart
// from all others: they hold up nothing, and may call every method of the client
// and its channels. 1,024 events may wait for them; what is beyond that is counted,
// and the number given to Dropped (with an empty topic) and the Logger. A panic of
// a hook is logged, and one of the Logger is given to Dropped.
type Hooks struct {
	Connected func()                          // a socket is up
	Lost      func(err error)                 // it is gone; the client connects again
	Failed    func(err error)                 // an attempt to connect failed; the client tries again unless IsPermanent(err)
	Joined    func(topic string)              // the server accepted a join
	Live      func(topic string)              // and confirmed its subscription
	Gap       func(topic string, gap cdc.Gap) // changes, or broadcasts where there are no subscriptions, may be missing (a gap that is open is told when it opens)
	Refused   func(topic string, err error)   // the server refused a join or a subscription, which is tried again
	Dropped   func(topic string, err error)   // something was discarded: a change that a full queue had no room for, a frame that could not be read, a message that could not be sent. Topic is empty where nobody can tell
}

// withDefaults checks the options and fills in what is not set.
func (o Options) withDefaults() (Options, error) {
	if strings.TrimSpace(o.Key) == "" {
		return o, errors.New("realtime: Options.Key is empty")
	}
	if err := secret.Check(o.Key); err != nil {
		return o, fmt.Errorf("realtime: Options.Key %w", err)
	}
	if err := secret.CheckHeader(o.Header); err != nil {
		return o, fmt.Errorf("realtime: Options.Header: %w", err)
	}
	if o.ProtocolVersion == "" {
		o.ProtocolVersion = phoenix.V2.String()
	}
	if o.ProtocolVersion != phoenix.V1.String() && o.ProtocolVersion != phoenix.V2.String() {
		return o, fmt.Errorf("realtime: Options.ProtocolVersion %q, want %q or %q", o.ProtocolVersion, phoenix.V2, phoenix.V1)
	}
	for _, d := range []struct {
		name     string
		value    *time.Duration
		standard time.Duration
	}{
		{"ConnectTimeout", &o.ConnectTimeout, 20 * time.Second},
		{"ReconnectMin", &o.ReconnectMin, 500 * time.Millisecond},
		{"ReconnectMax", &o.ReconnectMax, 30 * time.Second},
		{"Heartbeat", &o.Heartbeat, 25 * time.Second},
		{"HeartbeatTimeout", &o.HeartbeatTimeout, 15 * time.Second},
		{"JoinTimeout", &o.JoinTimeout, 40 * time.Second},
	} {
		if *d.value < 0 {
			return o, fmt.Errorf("realtime: Options.%s is negative", d.name)
		}
		if *d.value == 0 {
			*d.value = d.standard
		}
	}
	if o.ReconnectMax < o.ReconnectMin {
		return o, errors.New("realtime: Options.ReconnectMax is less than ReconnectMin")
	}
	if o.Heartbeat > 30*time.Second {
		return o, fmt.Errorf("realtime: Options.Heartbeat %v, the server wants one every 30 s", o.Heartbeat)
	}
	switch {
	case o.ReadLimit == 0:
		o.ReadLimit = 32 << 20
	case o.ReadLimit < 16<<20:
		return o, fmt.Errorf("realtime: Options.ReadLimit %d, want 16 MiB or more", o.ReadLimit)
	}
	switch {
	case o.SendBuffer == 0:
		o.SendBuffer = 512
	case o.SendBuffer < 0:
		return o, errors.New("realtime: Options.SendBuffer is negative")
	}
	if o.HTTPClient == nil {
		o.HTTPClient = http.DefaultClient
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

func (o Options) version() phoenix.Version {
	if o.ProtocolVersion == phoenix.V1.String() {
		return phoenix.V1
	}
	return phoenix.V2
}
