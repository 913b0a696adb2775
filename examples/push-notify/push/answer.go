package push

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/gapless-go/gapless/enrich/deliver"
	"github.com/gapless-go/gapless/examples/internal/again"
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
		return deliver.Later(err, min(again.After(answer.Header), time.Until(expires)))
	}
	return fmt.Errorf("%s: %w: %w", service, ErrRefused, answered)
}

// withoutURL takes the address out of an error of net/http: it is a secret.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
