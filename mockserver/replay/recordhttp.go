package replay

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
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
	head := req.Method + " " + redact.Request(req.URL) + "\n"
	if contentType := req.Header.Get("Content-Type"); contentType != "" {
		head += "Content-Type: " + contentType + "\n"
	}
	text, body, err := recordBody(req.URL.Path, head+headerLines(req.Header), req.Header, req.Body)
	req.Body = body
	r.add(req.Context(), "http_request", text)
	return err
}

// recordResponse passes the answer on as it comes, and writes it down when its
// body has ended.
func (r *Recorder) recordResponse(answer *http.Response) error {
	head := fmt.Sprintf("%d %s\n", answer.StatusCode, answer.Header.Get("Content-Type")) + headerLines(answer.Header)
	ctx, header := answer.Request.Context(), answer.Header
	path := answer.Request.URL.Path
	answer.Body = &recordedBody{ReadCloser: answer.Body, done: func(body []byte, err error) {
		switch {
		case len(body) > maxRecorded:
			r.add(ctx, "http_response", tooLong(head))
		case err != nil:
			r.add(ctx, "http_response", head+notRecorded+": the connection broke within it\n\n")
		default:
			r.add(ctx, "http_response", head+bodyText(path, header, body))
		}
	}}
	return nil
}

// recordedBody is a body of which a copy is kept, up to maxRecorded and one more
// byte.
type recordedBody struct {
	io.ReadCloser
	kept  []byte
	ended bool
	done  func(body []byte, err error) // called once
}

// Read implements io.Reader.
func (b *recordedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.kept = append(b.kept, p[:min(n, maxRecorded+1-len(b.kept))]...)
	if err != nil {
		b.end(err)
	}
	return n, err
}

// Close implements io.Closer.
func (b *recordedBody) Close() error {
	b.end(io.ErrUnexpectedEOF) // unless it has ended
	return b.ReadCloser.Close()
}

func (b *recordedBody) end(err error) {
	if b.ended {
		return
	}
	b.ended = true
	if errors.Is(err, io.EOF) {
		err = nil
	}
	b.done(b.kept, err)
}

// tooLong is the text of a message whose body is not recorded.
func tooLong(head string) string {
	return fmt.Sprintf("%s%s: more than %d bytes\n\n", head, notRecorded, maxRecorded)
}

func headerLines(header http.Header) string {
	var b strings.Builder
	for _, name := range recordedHeaders {
		for _, value := range header.Values(name) {
			if name == "Location" {
				value = redact.Location(value)
			}
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
func recordBody(path, head string, header http.Header, body io.ReadCloser) (text string, again io.ReadCloser, err error) {
	if body == nil {
		return head + "\n", nil, nil
	}
	first, err := io.ReadAll(io.LimitReader(body, maxRecorded+1))
	again = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(first), body), body}
	if len(first) > maxRecorded {
		return tooLong(head), again, err
	}
	return head + bodyText(path, header, first), again, err
}

// bodyText writes what follows the head: a body without secrets, in base64 where
// it is no text, or why there is none. What is recorded is JSON, forms, text of
// the APIs of tables and Realtime, and the bytes of broadcasts: of anything else
// it is not known where it holds a secret.
func bodyText(path string, header http.Header, body []byte) string {
	if len(body) == 0 {
		return "\n"
	}
	left := func(why string) string { return notRecorded + ": " + why + "\n\n" }
	switch encoding := header.Get("Content-Encoding"); encoding {
	case "", "identity":
	case "gzip":
		unpacked, err := gunzip(body)
		if err != nil {
			return left("it is not gzip, or more than " + strconv.Itoa(maxRecorded) + " bytes")
		}
		body = unpacked
	default:
		return left("it is compressed")
	}
	media, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	media = strings.TrimSpace(media)
	if safe, ok := safeBody(path, media, body); ok {
		return "\n" + safe
	}
	if safe := redact.Text(body); media == "application/octet-stream" && isRowAPI(path) && bytes.Equal(safe, body) {
		return "\n" + base64Prefix + base64.StdEncoding.EncodeToString(body)
	}
	return left("it is not known what may be secret in " + redact.String(media))
}

// isRowAPI reports whether what is below a path is about rows and channels.
func isRowAPI(path string) bool {
	return strings.HasPrefix(path, "/rest/v1/") || strings.HasPrefix(path, "/realtime/v1/")
}

// safeBody redacts a body that is JSON, a form or text.
func safeBody(path, media string, body []byte) (safe string, ok bool) {
	switch {
	case media == "application/x-www-form-urlencoded":
		return redact.Form(string(body)), true
	case json.Valid(body) && isRowAPI(path):
		return string(redact.Text(body)), true
	case json.Valid(body):
		return string(redact.Known(body)), true
	case (media == "text/plain" || media == "text/html" || media == "") && utf8.Valid(body) && !bytes.HasPrefix(body, []byte(base64Prefix)):
		return string(redact.Text(body)), true
	}
	return "", false
}

func gunzip(packed []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(z, maxRecorded+1))
	if err == nil && len(body) > maxRecorded {
		err = errors.New("it is too long")
	}
	return body, err
}

const base64Prefix = "base64:"
