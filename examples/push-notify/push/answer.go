package push

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gapless-go/gapless/enrich/deliver"
)

// judgeAnswer says what a service's answer means to a Sender: nil is that it has
// taken the notification. One that asks for a pause gets it, for as long as
// anybody wants to be told.
func judgeAnswer(service string, answer *http.Response, expires time.Time) error {
	status := answer.StatusCode
	answered := &StatusError{Status: status}
	switch {
	case status < 300:
		return nil
	case status == http.StatusNotFound, status == http.StatusGone:
		return fmt.Errorf("%s: %w: %w", service, ErrGone, answered)
	case status == http.StatusUnauthorized, status == http.StatusForbidden, answered.Passes():
		err := fmt.Errorf("%s: %w", service, answered) // the operator may put the token right
		return deliver.Later(err, min(RetryAfter(answer.Header), time.Until(expires)))
	}
	return fmt.Errorf("%s: %w: %w", service, ErrRefused, answered)
}

// RetryAfter reads the header of that name, which has seconds or a date: how long
// not to ask again.
func RetryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseInt(text, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return time.Until(at)
	}
	return 0
}

// withoutURL takes the address out of an error of net/http: it is a secret.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
