package mockserver

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gapless-go/gapless/internal/redact"
	"github.com/gapless-go/gapless/internal/transcript"
)

// maxRecorded bounds an HTTP body that a transcript has.
const maxRecorded = 8 << 20

// notRecorded stands among the headers of a message without its body.
const notRecorded = "Body-Not-Recorded"

// recordedHeaders are those that a client or a player needs. The others, such as
// dates and the names of programs, would only make recordings differ.
var recordedHeaders = []string{
	"Accept", "Accept-Profile", "Apikey", "Authorization", "Content-Profile", "Content-Range", "Location", "Prefer", "Preference-Applied",
	"Range", "Range-Unit", "Retry-After", "X-Api-Key",
}

type requestName struct{}

// httpProxy passes on requests that are no upgrades.
func (r *Recorder) httpProxy() http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(r.upstream)
			pr.Out.Header.Set("Accept-Encoding", "identity") // to be read
		},
		Transport:      r.dialer.Transport,
		ModifyResponse: r.recordResponse,
		ErrorHandler: func(w http.ResponseWriter, req *http.Request, err error) {
			r.log.Debug("no answer from the server", "path", req.URL.Path, "error", err)
			r.add(req.Context(), "http_response", "502 \n\n")
			w.WriteHeader(http.StatusBadGateway)
		},
		ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		req = req.WithContext(context.WithValue(req.Context(), requestName{}, r.ask()))
		if err := r.recordRequest(req); err != nil {
			http.Error(w, "the request could not be read", http.StatusBadRequest)
			return
		}
		proxy.ServeHTTP(w, req)
	})
}

func (r *Recorder) add(ctx context.Context, dir, text string) {
	name, _ := ctx.Value(requestName{}).(string)
	r.file.Add(transcript.Line{Conn: name, Dir: dir, Kind: "http", Frame: text})
}

func (r *Recorder) recordRequest(req *http.Request) error {
	head := req.Method + " " + redact.URL(req.URL) + "\n"
	if contentType := req.Header.Get("Content-Type"); contentType != "" {
		head += "Content-Type: " + contentType + "\n"
	}
	text, body, err := recordBody(head+headerLines(req.Header), req.Header, req.Body)
	req.Body = body
	r.add(req.Context(), "http_request", text)
	return err
}

func (r *Recorder) recordResponse(answer *http.Response) error {
	head := fmt.Sprintf("%d %s\n", answer.StatusCode, answer.Header.Get("Content-Type"))
	text, body, err := recordBody(head+headerLines(answer.Header), answer.Header, answer.Body)
	if err != nil {
		return err // the connection broke within the body: answered with 502
	}
	answer.Body = body
	r.add(answer.Request.Context(), "http_response", text)
	return nil
}

func headerLines(header http.Header) string {
	var b strings.Builder
	for _, name := range recordedHeaders {
		for _, value := range header.Values(name) {
			b.WriteString(name + ": " + redact.Header(name, value) + "\n")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		if strings.HasPrefix(name, "Access-Control-") {
			b.WriteString(name + ": " + redact.Header(name, strings.Join(header[name], ", ")) + "\n")
		}
	}
	return b.String()
}

// recordBody returns the text of a message whose head is given, and a body to
// be read in the place of the one that it has read.
func recordBody(head string, header http.Header, body io.ReadCloser) (text string, again io.ReadCloser, err error) {
	if body == nil {
		return head + "\n", nil, nil
	}
	first, err := io.ReadAll(io.LimitReader(body, maxRecorded+1))
	again = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(first), body), body}
	if len(first) > maxRecorded {
		return fmt.Sprintf("%s%s: more than %d bytes\n\n", head, notRecorded, maxRecorded), again, err
	}
	return head + "\n" + bodyText(header.Get("Content-Type"), first), again, err
}

// bodyText writes a body, redacted, in base64 where it is no text.
func bodyText(contentType string, body []byte) string {
	if strings.HasPrefix(contentType, "application/x-www-form-urlencoded") {
		return redact.Query(string(body))
	}
	safe := redact.Text(body)
	if !utf8.Valid(safe) || bytes.HasPrefix(safe, []byte(base64Prefix)) {
		return base64Prefix + base64.StdEncoding.EncodeToString(safe)
	}
	return string(safe)
}

const base64Prefix = "base64:"
