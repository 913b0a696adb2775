package signin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gapless-go/gapless/internal/origin"
	"github.com/gapless-go/gapless/internal/rescue"
	"github.com/gapless-go/gapless/internal/secret"
)

const (
	requestTimeout = 30 * time.Second
	maxAnswer      = 1 << 20  // bytes of a session
	maxErrorBody   = 64 << 10 // bytes of an error
)

// session is an answer of Supabase Auth.
type session struct {
	AccessToken  string  `json:"access_token"`
	RefreshToken string  `json:"refresh_token"`
	ExpiresIn    float64 `json:"expires_in"` // seconds
}

// ask makes one request for a session. The error may be a *refusal, and holds
// no secret.
func (s *Source) ask(ctx context.Context, grant string, body map[string]string) (session, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	text, err := json.Marshal(body)
	if err != nil {
		return session{}, err
	}
	to := *s.to
	to.RawQuery = "grant_type=" + grant
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), bytes.NewReader(text))
	if err != nil {
		return session{}, errors.New("the request cannot be made")
	}
	for name, values := range s.opts.Header {
		r.Header[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("apikey", s.opts.Key)
	sender := *s.opts.HTTPClient
	sender.CheckRedirect = origin.Within(s.to, sender.CheckRedirect)
	var got session
	err = rescue.Do("Options.HTTPClient", func() error {
		answer, err := sender.Do(r)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		got, err = read(answer)
		return err
	})
	if err != nil {
		secrets := []string{s.opts.Key, s.opts.Password, body["refresh_token"]}
		for _, values := range s.opts.Header {
			secrets = append(secrets, values...)
		}
		err = secret.Scrub(err, secrets...)
	}
	return got, err
}

// read reads an answer.
func read(answer *http.Response) (session, error) {
	limit := int64(maxErrorBody)
	ok := answer.StatusCode >= 200 && answer.StatusCode <= 299
	if ok {
		limit = maxAnswer
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, limit+1))
	kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	switch {
	case !ok: // what came of the body is enough
		return session{}, parseRefusal(answer.StatusCode, kind, body)
	case err != nil:
		return session{}, err
	case int64(len(body)) > limit:
		return session{}, fmt.Errorf("HTTP %d: the answer has more than %d bytes", answer.StatusCode, limit)
	}
	got, err := parseSession(body)
	if err != nil {
		return session{}, fmt.Errorf("HTTP %d: %w", answer.StatusCode, err)
	}
	return got, nil
}

// parseSession reads the body of an answer.
func parseSession(body []byte) (got session, err error) {
	switch err := json.Unmarshal(body, &got); {
	case err != nil:
		return session{}, errors.New("the answer is no session in JSON; is Options.URL the project's?")
	case got.AccessToken == "":
		return session{}, errors.New("the answer has no access token")
	case secret.Check(got.AccessToken) != nil:
		return session{}, errors.New("the answer has an access token that no header can carry")
	}
	return got, nil
}

// refusal is an answer that is an error.
type refusal struct {
	status  int
	code    string // Supabase Auth's; empty: it is not known to have said that
	message string
}

// parseRefusal reads the body of an error, in any of the forms that versions of
// Supabase Auth have:
//
//	{"code":400,"error_code":"invalid_credentials","msg":"…"}
//	{"code":"invalid_credentials","message":"…"}
//	{"error":"invalid_grant","error_description":"…"}
func parseRefusal(status int, kind string, body []byte) *refusal {
	r := &refusal{status: status}
	var said struct {
		Code        any
		ErrorCode   any `json:"error_code"`
		Error       any
		Description any `json:"error_description"`
		Msg         any
		Message     any
	}
	if json.Unmarshal(body, &said) != nil {
		if strings.Contains(kind, "html") {
			r.message = "an HTML page in the place of an answer"
		}
		return r
	}
	text := func(v any) string { s, _ := v.(string); return s }
	r.code = cmp.Or(text(said.ErrorCode), text(said.Code))
	if r.code == "" && text(said.Description) != "" {
		r.code = text(said.Error)
	}
	r.message = cmp.Or(text(said.Msg), text(said.Message), text(said.Description), text(said.Error))
	return r
}

// Error returns the status and the server's words, as long as they are, and what
// may help.
func (r *refusal) Error() string {
	s := fmt.Sprintf("HTTP %d: %s", r.status, cmp.Or(r.message, http.StatusText(r.status), "no reason given"))
	switch {
	case r.own() && r.code != "invalid_grant":
		s += " (" + r.code + ")"
	case r.status >= 300 && r.status <= 399:
		s += ": a redirect to another origin is not followed"
	case r.status == http.StatusUnauthorized:
		s += ": check Options.Key"
	case r.status == http.StatusNotFound:
		s += ": check Options.URL"
	}
	return s
}

// own reports whether Supabase Auth itself has refused the account or the
// session.
func (r *refusal) own() bool {
	return r.status >= 400 && r.status <= 499 && slices.Contains(final, r.code)
}

// final are the codes by which Supabase Auth says that the account, or the
// session, is refused. Others, such as hook_timeout and conflict, may pass.
var final = []string{
	"invalid_grant", "invalid_credentials", "refresh_token_not_found", "refresh_token_already_used",
	"session_not_found", "session_expired", "user_not_found", "user_banned", "email_not_confirmed", "phone_not_confirmed",
	"email_provider_disabled", "phone_provider_disabled", "provider_disabled", "captcha_failed", "validation_failed",
}

// passes reports whether the same request may succeed later.
func (r *refusal) passes() bool {
	switch r.status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return r.status >= 500 || r.status < 300
}
