package postgrest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/internal/secret"
	"github.com/gapless-go/gapless/internal/text"
)

var (
	// ErrTooLarge is within the error of an answer over Table.MaxBytes.
	ErrTooLarge = errors.New("the answer is too large")
	// ErrNoRow is within the error of a write that no row came of.
	ErrNoRow = errors.New("no such row")
	// ErrNotDescribed is within the error of Describe where the project does not
	// tell what the table looks like.
	ErrNotDescribed = errors.New("the project does not describe the table")
)

const (
	maxErrorBody = 64 << 10
	maxErrorText = 300
	// maxRetryAfter bounds what a server may ask for: nobody waits for years.
	maxRetryAfter = time.Hour
)

// Error is a request that failed: the server's answer, or that there was none
// that could be read.
type Error struct {
	Table      string // schema and table; a function has () behind it
	Status     int    // HTTP; 0: no answer
	Code       string // PostgREST's (PGRST…) or PostgreSQL's; may be empty
	Message    string // the rest is as the server said it; may be empty
	Details    string
	Hint       string
	RetryAfter time.Duration // how long the server wants to be left alone, at most 1 h; 0: it did not say
	Err        error         // why there is no answer, or why it cannot be read; nil for an answer that is an error

	foreign bool // not said by PostgREST, but by something before it
	expired bool // it is the token that was refused
}

// Error returns what happened to which table. It holds no URL.
func (e *Error) Error() string {
	s := "postgrest: " + e.Table + ": "
	if e.Status != 0 && (e.Err == nil || e.Status > 299) {
		s += fmt.Sprintf("HTTP %d: ", e.Status)
	}
	switch {
	case e.Err != nil:
		return s + strings.TrimPrefix(text.Clean(e.Err.Error(), 2*maxErrorText), "realtime: ")
	case e.Message == "":
		return s + http.StatusText(e.Status)
	}
	if e.Code != "" {
		s += e.Code + ": "
	}
	return s + e.Message
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Temporary reports whether the same request may succeed later: the network,
// a server that is busy, restarting or without its database, a conflict of
// transactions, a token that has expired. It is false for what has to change
// first, such as a missing right, table or column, and for a context that was
// canceled.
func (e *Error) Temporary() bool {
	if e.Err != nil {
		return passes(e.Err)
	}
	switch class := sqlClass(e.Code); {
	case strings.HasPrefix(e.Code, "PGRST0"): // no connection to the database
		return true
	case class == "40", class == "57": // serialization, deadlock; statement timeout, shutdown
		return true
	case class == "22", class == "23", class == "42", class == "54", class == "P0": // some of them come with 500
		return false
	}
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusUnauthorized: // the token, which is replaced; not the API key, or a right of anon
		return e.expired || e.foreign || e.Code == "PGRST301" || e.Code == "PGRST303"
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone, http.StatusNotImplemented:
		return false
	}
	return e.Status >= 500 || e.foreign
}

// Refusal reports whether a server answered, and in a way that looks as if it
// would not change: not Temporary. Whether it is final is for the history of the
// table to say, whoever gave the answer: a gateway answers 404 for a while, and
// so does PostgREST while its schema cache is old.
func (e *Error) Refusal() bool { return e.Err == nil && e.Status != 0 && !e.Temporary() }

// passes tells errors without an answer apart.
func passes(err error) bool {
	var permanent interface{ Permanent() bool }
	var other *json.UnmarshalTypeError
	switch {
	case errors.As(err, &other): // whole JSON, and not what the caller wants
		return false
	case errors.Is(err, ErrTooLarge), errors.Is(err, context.Canceled), errors.Is(err, channel.ErrClosed):
		return false
	case errors.As(err, &permanent) && permanent.Permanent():
		return false
	}
	return true
}

// sqlClass is the class of a SQLSTATE, empty for another code.
func sqlClass(code string) string {
	if len(code) != 5 {
		return ""
	}
	return code[:2]
}

// failure is a request without an answer.
func (t *Table) failure(err error) error {
	var u *url.Error
	if errors.As(err, &u) { // whose text has the URL
		err = u.Err
	}
	return &Error{Table: t.title(), Err: err}
}

// unreadable is an answer that is no JSON to its end, or too much of it, or
// other JSON than expected.
func (t *Table) unreadable(answer *http.Response, err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	case isHTML(answer):
		err = errors.New("an HTML page in the place of an answer")
	case errors.As(err, &syntax):
		err = fmt.Errorf("the answer is not JSON: %w", err)
	}
	return &Error{Table: t.title(), Status: answer.StatusCode, Err: err}
}

// refusal reads an answer that is an error.
func (t *Table) refusal(answer *http.Response) error {
	e := &Error{Table: t.title(), Status: answer.StatusCode, RetryAfter: retryAfter(answer.Header.Get("Retry-After"), time.Now())}
	e.expired = strings.Contains(answer.Header.Get("WWW-Authenticate"), "invalid_token")
	body, _ := io.ReadAll(io.LimitReader(answer.Body, maxErrorBody)) // what there is of it
	e.parse(body, isHTML(answer))
	return e
}

// parse reads the body of an error, PostgREST's or a gateway's.
func (e *Error) parse(body []byte, html bool) {
	var said struct{ Code, Message, Details, Hint, Msg, Error any }
	switch err := json.Unmarshal(body, &said); {
	case err == nil:
		e.Code, e.Message, e.Details, e.Hint = word(said.Code), word(said.Message), word(said.Details), word(said.Hint)
		if e.Message == "" { // gateways have other names for it
			e.Message = cleaned(word(said.Msg) + word(said.Error))
		}
	case len(body) > 0:
		e.foreign = true
		if !html {
			e.Message = cleaned(string(body))
		}
	}
}

// word is a member of an error that is to be a string.
func word(v any) string {
	s, _ := v.(string)
	return cleaned(s)
}

// cleaned is a text of the server, which may repeat the key or the token of the
// request.
func cleaned(s string) string { return text.Clean(secret.Plain(s), maxErrorText) }

func isHTML(answer *http.Response) bool {
	return strings.HasPrefix(answer.Header.Get("Content-Type"), "text/html")
}

// retryAfter reads the header of that name: seconds, or a date.
func retryAfter(value string, now time.Time) time.Duration {
	var wait time.Duration
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil { // 136 years, and no overflow
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}
