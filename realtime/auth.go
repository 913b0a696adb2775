package realtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/gapless-go/gapless/internal/backoff"
	"github.com/gapless-go/gapless/internal/events"
	"github.com/gapless-go/gapless/internal/patience"
	"github.com/gapless-go/gapless/internal/rescue"
	"github.com/gapless-go/gapless/internal/secret"
)

const (
	// tokenLeeway is how long before its expiry a token is not used any more:
	// the server grants none.
	tokenLeeway = 5 * time.Second
	// tokenTimeout bounds one call of a TokenSource.
	tokenTimeout = 30 * time.Second
	// maxRefreshMargin is how long before its expiry a long-lived token is
	// replaced; shorter-lived ones in the last fifth of their life.
	maxRefreshMargin = 5 * time.Minute
	// maxRejections is how many tokens in a row the server may refuse before
	// another one is thought to be of no use.
	maxRejections = 3
)

var (
	errTokenEmpty    = errors.New("empty token")
	errTokenRejected = errors.New("the server has refused this token, and the source returned it again")
)

// auth keeps the token of a TokenSource: it calls the source once at a time,
// ahead of the expiry. Without a source its token is "".
type auth struct {
	source TokenSource
	ctx    context.Context                          // the client's; a call of the source ends with it
	notify func()                                   // called after every call of the source
	clock  func() (ahead time.Duration, known bool) // of the server
	events *events.Queue
	calls  sync.WaitGroup

	mu         sync.Mutex
	token      string
	given      time.Time // when the source said that it expires, by this machine's clock; zero: never
	claimed    time.Time // its claim exp, by the server's clock; zero: there is none
	fetched    time.Time
	rejected   bool  // the server has refused token
	refusal    error // in these words
	rejections int   // in a row
	history    patience.Patience
	refused    bool      // for good, as far as the history tells
	failures   int       // calls of the source, in a row
	retryAt    time.Time // not before that, after a failure
	err        error     // of the last call
	closed     bool
	inflight   *tokenCall
}

type tokenCall struct {
	done chan struct{}
	err  error
}

// valid returns the token if it may be used now.
func (a *auth) valid(now time.Time) (token string, ok bool) {
	if a.source == nil {
		return "", true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.token, a.usable(now)
}

func (a *auth) usable(now time.Time) bool {
	return a.token != "" && !a.rejected && !expired(a.expiry(a.given, a.claimed), now)
}

func expired(expiry, now time.Time) bool {
	return !expiry.IsZero() && !now.Before(expiry.Add(-tokenLeeway))
}

// expiry returns when a token expires by this machine's clock: what the source
// gave, or what the token claims, whichever is earlier. A claim is by the clock
// of the server, which has no meaning here before that clock is known: until an
// answer has come, the token is worth the try.
func (a *auth) expiry(given, claimed time.Time) time.Time {
	ahead, known := a.clock()
	if !known || claimed.IsZero() {
		return given
	}
	return earlier(given, claimed.Add(-ahead))
}

// due returns when the source is to be called: at once (a time that is not
// after now) where there is no usable token, later if it has failed just now;
// the zero time for never, or while it is being called.
func (a *auth) due(now time.Time) time.Time {
	if a.source == nil {
		return time.Time{}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	at := refreshTime(a.expiry(a.given, a.claimed), a.fetched)
	switch {
	case a.inflight != nil:
		return time.Time{}
	case !a.usable(now):
		at = now
	}
	if !at.IsZero() && at.Before(a.retryAt) {
		at = a.retryAt
	}
	return at
}

// failure returns the error of the last call, nil if it gave a token. A
// permanent one is returned once.
func (a *auth) failure() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.err
	if IsPermanent(err) {
		a.err = nil
	}
	return err
}

// reject notes that the server refused a token, and why, and reports whether to
// try again: with another token, or with the same one where tokens have been
// accepted before and the refusals have not persisted.
func (a *auth) reject(token string, why error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.source == nil {
		return !a.history.Refused(time.Now())
	}
	if token == sendable(a.token) && !a.rejected {
		a.rejected, a.refusal = true, why
		a.rejections++
		a.refused = a.history.Refused(time.Now())
	}
	return a.rejections < maxRejections || !a.refused
}

// refuse notes that another API refused a token, so that it is not used any
// more. It does not count as a rejection: those decide whether channels have a
// chance.
func (a *auth) refuse(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.source != nil && token != "" && token == sendable(a.token) {
		a.rejected, a.refusal = true, nil
	}
}

// accepted notes that the server took the token.
func (a *auth) accepted() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rejections, a.refused = 0, false
	a.history.Worked()
}

// begin calls the source, unless that is under way, and returns the call.
func (a *auth) begin() *tokenCall {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		call := &tokenCall{done: make(chan struct{}), err: ErrClosed}
		close(call.done)
		return call
	}
	if a.inflight == nil {
		call := &tokenCall{done: make(chan struct{})}
		a.inflight = call
		a.calls.Go(func() { a.fetch(call) }) // ends with the source's answer; waited for by close
	}
	return a.inflight
}

// wait blocks until a call has ended, or ctx.
func (c *tokenCall) wait(ctx context.Context) error {
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close waits for a call that is under way, whose context has ended, and has
// no other begin.
func (a *auth) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.calls.Wait()
}

func (a *auth) fetch(call *tokenCall) {
	ctx, cancel := context.WithTimeout(a.ctx, tokenTimeout)
	defer cancel()
	var token string
	var expiry time.Time
	err := rescue.Do("Options.Token", func() (err error) {
		token, expiry, err = a.source(ctx)
		return err
	})
	a.settle(call, token, expiry, err)
	a.notify()
}

// settle takes the answer of the source.
func (a *auth) settle(call *tokenCall, token string, expiry time.Time, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if err == nil {
		err = a.check(token, expiry, now)
	}
	if err != nil {
		a.retryAt = now.Add(backoff.Full(a.failures, time.Second, 30*time.Second))
		a.failures++
		err = fmt.Errorf("realtime: token source: %w", secret.Scrub(err, token))
		a.events.Add(events.Event{Level: slog.LevelWarn, Text: "no token", Args: []any{"err", err}})
	} else {
		a.failures, a.retryAt = 0, time.Time{}
		// The wall clock goes on while a machine sleeps, the monotonic one may not.
		a.token, a.given, a.claimed, a.fetched, a.rejected = token, expiry.Round(0), claimedExpiry(token), now, false
	}
	a.err, call.err = err, err
	a.inflight = nil
	close(call.done)
}

func (a *auth) check(token string, expiry, now time.Time) error {
	switch {
	case token == "":
		return errTokenEmpty
	case secret.Check(token) != nil:
		return fmt.Errorf("the token %w", secret.Check(token))
	case expired(a.expiry(expiry, claimedExpiry(token)), now):
		return ErrTokenExpired
	case a.rejected && token == a.token && a.refusal != nil:
		return fmt.Errorf("%w: %w", errTokenRejected, a.refusal)
	case a.rejected && token == a.token:
		return errTokenRejected
	}
	return nil
}

// refreshTime is when to replace a token that expires at expiry.
func refreshTime(expiry, now time.Time) time.Time {
	if expiry.IsZero() {
		return time.Time{}
	}
	return expiry.Add(-max(tokenLeeway, min(maxRefreshMargin, expiry.Sub(now)/5)))
}

// maxExpiry is an exp claim, in seconds, beyond which a token does not expire: it is
// 34,000 years away.
const maxExpiry = 1 << 40

// claimedExpiry reads the exp claim of a JWT, the zero time if there is none.
func claimedExpiry(token string) time.Time {
	exp, err := claims(token).GetExpirationTime()
	if err != nil || exp == nil || exp.Unix() > maxExpiry || exp.Unix() == math.MinInt64 { // to which a number that is too large is converted
		return time.Time{}
	}
	return exp.Time
}

// claims returns those of a JWT, nil if it is none. The token is not verified:
// that is the server's part.
func claims(token string) jwt.MapClaims {
	c := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, c); err != nil {
		return nil
	}
	return c
}

// Identity is as whom a client acts, and where.
type Identity struct {
	Project string // its address without a slash at the end; that of the Realtime server if no more is known
	Role    string // that of the database: authenticated, anon, service_role or one's own
	Subject string // the user's id, empty for a key
}

// Identity returns as whom the client acts, by the claims of the present token,
// which it does not verify; of an sb_… key the role is that of its kind. It blocks
// and fails as Token does.
func (c *Client) Identity(ctx context.Context) (Identity, error) {
	token, err := c.Token(ctx)
	if err != nil {
		return Identity{}, err
	}
	id := Identity{Project: c.endpoint.String()}
	if c.endpoint.project != nil {
		id.Project = c.endpoint.project.String()
	}
	switch {
	case strings.HasPrefix(token, "sb_publishable_"):
		id.Role = "anon"
	case strings.HasPrefix(token, "sb_"):
		id.Role = "service_role"
	default:
		of := claims(token)
		id.Role, _ = of["role"].(string)
		id.Subject, _ = of["sub"].(string)
	}
	return id, nil
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// sendable returns what of a token goes to the server: an sb_… key is no JWT,
// only the gateway knows it, and the server would ignore it.
func sendable(token string) string {
	if strings.HasPrefix(token, "sb_") {
		return ""
	}
	return token
}
