package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"

	"github.com/coder/websocket"

	"github.com/gapless-go/gapless/internal/origin"
	"github.com/gapless-go/gapless/internal/rescue"
	"github.com/gapless-go/gapless/internal/secret"
)

// dial opens a websocket, and returns the connection below it. Redirects are
// followed within the endpoint's origin: the key is in the query, and the token
// of the user follows on the socket.
func (c *Client) dial() (conn *websocket.Conn, w *wire, err error) {
	ctx, cancel := context.WithTimeoutCause(c.ctx, c.opts.ConnectTimeout, errDialTimeout)
	defer cancel()
	client := *c.opts.HTTPClient
	u := &upgrade{base: client.Transport}
	if u.base == nil {
		u.base = http.DefaultTransport
	}
	client.Transport = u
	client.CheckRedirect = origin.Within(&c.endpoint.u, client.CheckRedirect)
	var answer *http.Response
	err = rescue.Do("Options.HTTPClient", func() (err error) {
		conn, answer, err = websocket.Dial(ctx, c.endpoint.dial(), &websocket.DialOptions{HTTPClient: &client, HTTPHeader: c.opts.Header})
		return err
	})
	if answer != nil && answer.Header.Get("Age") == "" {
		c.router.readClock(answer)
	}
	switch {
	case err == nil:
		return conn, u.wire, nil
	case answer != nil && answer.StatusCode != http.StatusSwitchingProtocols:
		return nil, nil, c.refusedUpgrade(answer)
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return nil, nil, fmt.Errorf("realtime: connect %s: %w", c.endpoint, secret.Scrub(err, c.secrets()...))
}

// refusedUpgrade is the error for an answer that is no upgrade. The websocket library
// hands over the first kilobyte of the body.
func (c *Client) refusedUpgrade(answer *http.Response) *ConnectError {
	e := &ConnectError{Endpoint: c.endpoint.String(), Status: answer.StatusCode}
	kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	e.page = kind == "text/html"
	var said struct{ Error, Message, Msg string }
	to, _ := url.Parse(answer.Header.Get("Location"))
	switch {
	case answer.StatusCode/100 == 3 && to != nil && to.Host != "" && !origin.Same(to, requested(answer, &c.endpoint.u)):
		e.Reason = "a redirect to " + to.Scheme + "://" + to.Host + ", which is not followed: key and token go to no other origin"
	case e.page:
		e.Reason = http.StatusText(answer.StatusCode) + ", with an HTML page: this is no Realtime server, but perhaps a gateway or a firewall before it"
	case answer.Body != nil && json.NewDecoder(io.LimitReader(answer.Body, 4096)).Decode(&said) == nil:
		e.Reason = said.Error
		for _, text := range []string{said.Message, said.Msg} { // those of gateways
			if e.Reason == "" {
				e.Reason = text
			}
		}
	}
	if e.Reason != "" { // it may repeat the request
		e.Reason = secret.Scrub(errors.New(e.Reason), c.secrets()...).Error()
	}
	return e
}

// secrets are what a server or a transport may repeat of a request of this client,
// beside the token.
func (c *Client) secrets() []string {
	all := []string{c.opts.Key, c.endpoint.u.RawQuery}
	for _, values := range c.opts.Header {
		all = append(all, values...)
	}
	return all
}

func requested(answer *http.Response, first *url.URL) *url.URL {
	if answer.Request != nil && answer.Request.URL != nil {
		return answer.Request.URL
	}
	return first
}
