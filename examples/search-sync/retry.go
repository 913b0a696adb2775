package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/gapless-go/gapless/examples/internal/again"
)

const (
	firstWait   = 250 * time.Millisecond // the upper bound of the first
	longestWait = 15 * time.Second       // and of every later one
	// longestAsked bounds what a server may ask for with Retry-After.
	longestAsked = 5 * time.Minute
	// maxAnswer bounds an answer: a page of rows, a page of documents.
	maxAnswer = 256 << 20
)

// retrying makes requests again that failed for a reason that passes: the
// network, 408, 429, 5xx. It goes on until the request's context ends. All
// that it is used for may be done twice: reads, and writes of documents by
// their ID. The answer is read whole here, so that a connection which drops in
// the middle of it counts as well.
type retrying struct {
	base    http.RoundTripper
	timeout time.Duration                       // of one attempt
	notify  func(why error, wait time.Duration) // is told before each wait
}

func newRetrying(base http.RoundTripper, notify func(error, time.Duration)) *retrying {
	if base == nil {
		base = http.DefaultTransport
	}
	return &retrying{base: base, timeout: 30 * time.Second, notify: notify}
}

// RoundTrip makes the request until it is answered.
func (t *retrying) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		body, err = io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil {
			return nil, err
		}
	}
	for n := 0; ; n++ {
		answer, err := t.attempt(r, body)
		why := passing(answer, err)
		if why == nil || r.Context().Err() != nil {
			return answer, err
		}
		wait := again.Jitter(n, firstWait, longestWait)
		if answer != nil {
			wait = max(wait, min(again.After(answer.Header), longestAsked))
		}
		t.notify(why, wait)
		if err := again.Sleep(r.Context(), wait); err != nil {
			return nil, errors.Join(err, why)
		}
	}
}

var errAnswerTooLarge = fmt.Errorf("an answer of more than %d bytes", maxAnswer)

func (t *retrying) attempt(r *http.Request, body []byte) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(r.Context(), t.timeout)
	defer cancel()
	next := r.Clone(ctx)
	if r.Body != nil {
		next.Body, next.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	answer, err := t.base.RoundTrip(next)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	_ = answer.Body.Close()
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxAnswer:
		return nil, errAnswerTooLarge
	}
	answer.Body, answer.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	return answer, nil
}

// CloseIdleConnections closes those of the transport below.
func (t *retrying) CloseIdleConnections() {
	(&http.Client{Transport: t.base}).CloseIdleConnections()
}

// passing returns why an attempt is to be repeated, or nil if it is not.
func passing(answer *http.Response, err error) error {
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate), errors.Is(err, errAnswerTooLarge):
		return nil
	case err != nil:
		return err
	}
	switch status := answer.StatusCode; {
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests,
		status >= 500 && status != http.StatusNotImplemented:
		return fmt.Errorf("the server answered %s", answer.Status)
	}
	return nil
}
