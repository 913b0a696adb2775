// Package supabasego keeps a client of supabase-community/supabase-go in step
// with the session that Realtime uses, so that both act as one user with one
// session:
//
//	account, err := signin.New(signin.Options{…})
//	shared := supabasego.New(client, account.Token)
//	live, err := realtime.New(realtime.Options{URL: url, Key: key, Token: shared.Token})
//	…
//	err = shared.Use(ctx, func(c *supabase.Client) error {
//		_, _, err := c.From("orders").Select("*", "", false).Execute()
//		return err
//	})
//
// It is a module of its own, as supabase-go and what that needs is for its users
// alone. Of supabase-go's own ways to sign in and to refresh (SignInWith…,
// RefreshToken, EnableTokenAutoRefresh) none is to be used beside it: they have
// no context, change the client while others use it, and would use up the
// session's refresh token.
package supabasego

import (
	"context"
	"sync"
	"time"

	"github.com/supabase-community/gotrue-go/types"
	supabase "github.com/supabase-community/supabase-go"

	"github.com/gapless-go/gapless/realtime"
)

// Client is a client of supabase-go whose requests have the newest token of a
// source. It is safe for concurrent use, which the client of supabase-go is not
// while its token changes.
type Client struct {
	client *supabase.Client
	source realtime.TokenSource

	mu      sync.Mutex
	users   int           // calls of Use that have the client
	pending *string       // a token that it does not have yet
	changed chan struct{} // closed and replaced when the last user is gone
}

// New takes a client over: from now on it is to be used within Use alone.
func New(client *supabase.Client, source realtime.TokenSource) *Client {
	return &Client{client: client, source: source, changed: make(chan struct{})}
}

// Token is a realtime.TokenSource: it asks the source for a token, and gives it
// to the client, too. It blocks as the source does, and does not wait for calls
// of Use.
func (c *Client) Token(ctx context.Context) (token string, expiry time.Time, err error) {
	token, expiry, err = c.source(ctx)
	if err != nil {
		return "", time.Time{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = &token
	c.update()
	return token, expiry, nil
}

// Use calls f with the client, which has the newest token that Token has
// returned; before the first one it acts with its key. Calls run at the same
// time, and none while the client is given a token: where one waits, Use blocks
// until the calls that are under way have returned, or ctx ends. It returns f's
// error, or ctx's. f must not keep the client, and not call Use.
func (c *Client) Use(ctx context.Context, f func(*supabase.Client) error) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	defer c.end()
	return f(c.client)
}

func (c *Client) begin(ctx context.Context) error {
	for {
		c.mu.Lock()
		waits, changed := c.pending != nil, c.changed
		if !waits {
			c.users++
		}
		c.mu.Unlock()
		if !waits {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *Client) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users--
	c.update()
}

// update gives the client a token that waits, unless it is in use. It is called
// under mu.
func (c *Client) update() {
	if c.pending == nil || c.users > 0 {
		return
	}
	c.client.UpdateAuthSession(types.Session{AccessToken: *c.pending})
	c.pending = nil
	close(c.changed)
	c.changed = make(chan struct{})
}
