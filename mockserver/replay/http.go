package replay

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gapless-go/gapless/internal/redact"
	"github.com/gapless-go/gapless/mockserver/internal/auth"
	"github.com/gapless-go/gapless/mockserver/internal/rawjson"
)

// httpText is an HTTP message as a transcript has it: a first line, headers, an
// empty line, a body.
type httpText struct {
	first  string
	header http.Header
	body   []byte
	cut    bool // the body was not recorded
}

func parseHTTPText(s string) (t httpText, err error) {
	head, body, _ := strings.Cut(s, "\n\n")
	lines := strings.Split(strings.TrimSuffix(head, "\n"), "\n")
	t.first, t.header = lines[0], http.Header{}
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ": ")
		if !ok {
			return t, fmt.Errorf("%q is no header", cut(line))
		}
		t.header.Add(name, value)
	}
	t.cut = t.header.Get(notRecorded) != ""
	t.body = []byte(body)
	if encoded, ok := strings.CutPrefix(body, base64Prefix); ok {
		t.body, err = base64.StdEncoding.DecodeString(encoded)
	}
	return t, err
}

// httpAsked is a request, as far as it is compared.
type httpAsked struct {
	method, path string
	query        url.Values
	contentType  string
	body         []byte
	bodyUnknown  bool
}

func (a httpAsked) String() string { return a.method + " " + a.path }

func parseAsked(t httpText) (*httpAsked, error) {
	method, target, ok := strings.Cut(t.first, " ")
	u, err := url.Parse(target)
	if !ok || err != nil {
		return nil, errors.New("it is no request")
	}
	return &httpAsked{
		method: method, path: u.Path, query: u.Query(), contentType: t.header.Get("Content-Type"), body: t.body, bodyUnknown: t.cut,
	}, nil
}

// serveRequest answers a request as a recorded one was.
func (p *Player) serveRequest(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRecorded))
	if err != nil {
		http.Error(w, "the request is too large, or broke off", http.StatusBadRequest)
		return
	}
	contentType := r.Header.Get("Content-Type")
	s := p.takeRequest(&httpAsked{
		method: r.Method, path: r.URL.Path, query: r.URL.Query(), contentType: contentType, body: []byte(bodyOf(r.URL.Path, contentType, body)),
	})
	if s == nil || s.answer == nil {
		noAnswer(w)
		return
	}
	defer close(s.answer.sent)
	if p.awaitAnswer(r, s.answer) {
		p.sendAnswer(w, s.answer.text)
		_ = http.NewResponseController(w).Flush() // the play may be over, and the server closed, at once
	}
}

func noAnswer(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(http.StatusNotImplemented)
	_, _ = w.Write(rawjson.Must(map[string]string{"message": "the transcript has no answer to this request"}))
}

// bodyOf redacts a body as the recorder does, but leaves it as it is where
// that is no text.
func bodyOf(path, contentType string, body []byte) string {
	media, _, _ := strings.Cut(contentType, ";")
	if safe, ok := safeBody(path, strings.TrimSpace(media), body); ok {
		return safe
	}
	return string(redact.Text(body))
}

// awaitAnswer waits for the player to come to the answer.
func (p *Player) awaitAnswer(r *http.Request, answer *step) bool {
	for {
		p.mu.Lock()
		come, moved := answer.come, p.moved
		p.mu.Unlock()
		if come {
			return true
		}
		select {
		case <-moved:
		case <-r.Context().Done():
			return false
		case <-p.ctx.Done():
			panic(http.ErrAbortHandler) // ends the connection
		}
	}
}

func (p *Player) sendAnswer(w http.ResponseWriter, t httpText) {
	if t.cut {
		noAnswer(w)
		return
	}
	code, contentType, _ := strings.Cut(t.first, " ")
	status, err := strconv.Atoi(code)
	if err != nil || status < 200 || status > 999 {
		status = http.StatusBadGateway
	}
	for name, values := range t.header {
		w.Header()[name] = values
	}
	if contentType != "" {
		w.Header().Set("Content-Type", contentType)
	}
	p.mu.Lock()
	body := p.matcher.translate(t.body)
	p.mu.Unlock()
	w.WriteHeader(status)
	_, _ = w.Write(p.renewed(body))
}

var expiresAt = regexp.MustCompile(`("expires_at"\s*:\s*)\d+`)

// renewed puts a token that is good into a body where one was redacted, and
// when it expires.
func (p *Player) renewed(body []byte) []byte {
	fresh := bytes.ReplaceAll(body, []byte(quoted(redact.Mark)), []byte(quoted(auth.Sign(auth.DefaultSecret, playerClaims()))))
	if bytes.Equal(fresh, body) {
		return body
	}
	at := strconv.FormatInt(time.Now().Add(playerTokenLifetime).Unix(), 10)
	return expiresAt.ReplaceAll(fresh, []byte("${1}"+at))
}

// playerTokenLifetime is how long the tokens are good for that stand in for
// redacted ones.
const playerTokenLifetime = time.Hour

func playerClaims() map[string]any {
	now := time.Now()
	return map[string]any{
		"role": "authenticated", "aud": "authenticated", "iat": now.Unix(), "exp": now.Add(playerTokenLifetime).Unix(),
		"sub": "00000000-0000-4000-8000-000000000000",
	}
}

// takeRequest finds the recorded request that one is like, and makes it the
// client's. nil: there is none.
func (p *Player) takeRequest(got *httpAsked) *step {
	p.mu.Lock()
	defer p.mu.Unlock()
	var near *step
	var at, wanted, mine string
	for _, s := range p.steps {
		if s.asked == nil || s.come || s.asked.method != got.method || !p.matcher.like(s.asked.path, got.path) {
			continue
		}
		where, want, have := p.compareRequest(s.asked, got)
		if where == "" {
			if s.answer != nil {
				p.matcher.heard(s.answer.text.body)
			}
			p.came(s)
			return s
		}
		if near == nil {
			near, at, wanted, mine = s, where, want, have
		}
	}
	e := &DifferenceError{Transcript: p.name, What: "a request more", Want: "no further request of that method and path", Got: got.String()}
	if near != nil {
		e.Line, e.Socket, e.What, e.At, e.Want, e.Got = near.number, near.Conn, near.what(), at, wanted, mine
	}
	p.differ(e)
	return nil
}

// compareRequest compares what is behind the path.
func (p *Player) compareRequest(want, got *httpAsked) (at, wanted, mine string) {
	names := maps.Clone(want.query)
	maps.Copy(names, got.query)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		redacted := redact.Query
		if !isRowAPI(want.path) {
			redacted = redact.Form
		}
		a, b := safeValues(redacted, name, want.query[name]), safeValues(redacted, name, got.query[name])
		if at, wanted, mine := p.matcher.diff("query "+name, rawjson.Must(a), rawjson.Must(b)); at != "" {
			return at, wanted, mine
		}
	}
	if want.bodyUnknown {
		return "", "", ""
	}
	return p.matcher.diff("body", want.body, got.body)
}

// safeValues are the values of a parameter, of a secret one only how many there
// are.
func safeValues(redacted func(string) string, name string, values []string) []string {
	safe := make([]string, len(values))
	for i, v := range values {
		_, safe[i], _ = strings.Cut(redacted(url.QueryEscape(name)+"="+url.QueryEscape(v)), "=")
	}
	return safe
}
