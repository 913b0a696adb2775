package fcm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"

	"firebase.google.com/go/v4/errorutils"
	"golang.org/x/oauth2"

	"github.com/gapless-go/gapless/examples/push-notify/push"
)

// failure is the body of an answer that is an error, as
// https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode has it.
type failure struct {
	Error struct {
		Message string `json:"message"`
		Status  string `json:"status"`
		Details []struct {
			ErrorCode  string `json:"errorCode"`
			Violations []struct {
				Field string `json:"field"`
			} `json:"fieldViolations"`
		} `json:"details"`
	} `json:"error"`
}

func read(err error) (f failure) {
	if answer := errorutils.HTTPResponse(err); answer != nil {
		_ = json.NewDecoder(answer.Body).Decode(&f) // what is no JSON says nothing
	}
	return f
}

// code returns FCM's code, that of Google's APIs where FCM has none. It is one of
// upper case letters and underlines.
func (f failure) code() string {
	code := f.Error.Status
	for _, d := range f.Error.Details {
		if d.ErrorCode != "" {
			code = d.ErrorCode
		}
	}
	if code == "" || len(code) > 40 || strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != "" {
		return "an error without a code"
	}
	return code
}

// ofToken tells a token that is none from another argument that is wrong.
// FCM has one code for both, and names the field in one of two ways.
func (f failure) ofToken() bool {
	for _, d := range f.Error.Details {
		for _, v := range d.Violations {
			if v.Field == "message.token" {
				return true
			}
		}
	}
	return strings.Contains(f.Error.Message, "not a valid FCM registration token")
}

// cause says why there was no answer, with nothing of what was sent.
func cause(ctx context.Context, err error) error {
	var network *net.OpError
	var credentials *oauth2.RetrieveError
	switch {
	case errors.As(err, &credentials) && credentials.Response != nil:
		return fmt.Errorf("there is no access token: %w", &push.StatusError{Status: credentials.Response.StatusCode})
	case errors.As(err, &network):
		return network
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return errNoAnswer
}

var errNoAnswer = errors.New("the connection or the credentials have failed")
