package realtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver/internal/auth"
	"github.com/gapless-go/gapless/mockserver/internal/front"
	"github.com/gapless-go/gapless/mockserver/internal/project"
	"github.com/gapless-go/gapless/mockserver/internal/rawjson"
)

// maxBroadcastBody is the largest body of a broadcast over HTTP.
const maxBroadcastBody = 8_000_000

// Routes adds what the server serves: the websocket, broadcasts over HTTP, and
// signs of life, each under the path of the gateway and that of the server itself.
func (rt *Server) Routes(mux *http.ServeMux) {
	mux.HandleFunc("/realtime/v1/websocket", rt.serve)
	mux.HandleFunc("/socket/websocket", rt.serve)
	mux.HandleFunc("/healthcheck", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	for _, base := range []string{"/realtime/v1/api", "/api"} {
		mux.HandleFunc(base+"/ping", servePing)
		mux.HandleFunc(base+"/broadcast", rt.broadcastEndpoint(rt.broadcastBatch))
		mux.HandleFunc(base+"/broadcast/{topic}/events/{event}", rt.broadcastEndpoint(rt.broadcastSingle))
	}
}

func servePing(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = io.WriteString(w, `{"message":"Success"}`)
}

// httpRefusal is an answer that is not 202.
type httpRefusal struct {
	status int
	body   any // as JSON
}

func refusedWith(status int, message string) *httpRefusal {
	return &httpRefusal{status, map[string]string{"message": message}}
}

// broadcastEndpoint does what both endpoints have in common: who asks, how
// often, and how large.
func (rt *Server) broadcastEndpoint(send func(r *http.Request, claims project.Claims, body []byte) *httpRefusal) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		if r.Method == http.MethodOptions {
			front.AllowAll(w, r)
			return
		}
		no := rt.answerBroadcast(w, r, send)
		switch {
		case no == nil:
			w.WriteHeader(http.StatusAccepted)
		case no.body == nil:
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.WriteHeader(no.status)
			_, _ = io.WriteString(w, http.StatusText(no.status))
		default:
			front.WriteJSON(w, no.status, no.body)
		}
	}
}

func (rt *Server) answerBroadcast(w http.ResponseWriter, r *http.Request,
	send func(*http.Request, project.Claims, []byte) *httpRefusal) *httpRefusal {
	if r.Method != http.MethodPost {
		return &httpRefusal{status: http.StatusNotFound}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBroadcastBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &httpRefusal{status: http.StatusRequestEntityTooLarge}
	case err != nil:
		return &httpRefusal{status: http.StatusBadRequest}
	}
	if isJSON(r) && len(bytes.TrimSpace(body)) > 0 && !json.Valid(body) {
		return &httpRefusal{status: http.StatusBadRequest}
	}
	if r.PathValue("event") != "" && !takesMedia(r) {
		return &httpRefusal{http.StatusUnsupportedMediaType, map[string]string{
			"error": "Unsupported Media Type. Use application/json or application/octet-stream"}}
	}
	claims, ok := rt.broadcaster(r)
	if !ok {
		return refusedWith(http.StatusUnauthorized, "Unauthorized")
	}
	if no := rt.limitBroadcasts(w.Header()); no != nil {
		return no
	}
	return send(r, claims, body)
}

// limitBroadcasts says how many broadcasts there are, and refuses more.
func (rt *Server) limitBroadcasts(header http.Header) *httpRefusal {
	limit := rt.limits.EventsPerSecond
	if limit == 0 {
		return nil
	}
	rolling := int(rt.events.mean())
	header.Set("X-Rate-Rolling", strconv.Itoa(rolling))
	header.Set("X-Rate-Limit", strconv.Itoa(limit))
	header.Set("X-Rate-Limit-Remaining", strconv.Itoa(limit-rolling))
	if rolling >= limit {
		return refusedWith(http.StatusTooManyRequests, "Too many requests")
	}
	return nil
}

// broadcaster returns the claims of a request: those of its bearer token, or
// without one of its API key.
func (rt *Server) broadcaster(r *http.Request) (project.Claims, bool) {
	token, given := auth.BearerToken(r)
	if !given || token == auth.APIKey(r) {
		who, err := rt.connectionBearer(auth.APIKey(r))
		return who.claims, err == nil
	}
	who, err := rt.bearer(token)
	return who.claims, err == nil
}

func isJSON(r *http.Request) bool { return mediaType(r) == "application/json" }

// takesMedia reports whether the body of a single broadcast is of a type that the
// server takes, which it looks at before the token.
func takesMedia(r *http.Request) bool {
	return slices.Contains([]string{"", "application/json", "application/octet-stream"}, mediaType(r))
}

func mediaType(r *http.Request) string {
	name, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return name
}

// httpMessage is a message of a batch.
type httpMessage struct {
	topic, event, id string
	payload          json.RawMessage
	private          bool
}

// broadcastBatch is POST /api/broadcast. What the claims may not send is
// dropped, and accepted.
func (rt *Server) broadcastBatch(r *http.Request, claims project.Claims, body []byte) *httpRefusal {
	if !isJSON(r) {
		body = nil
	}
	messages, no := rt.readBatch(body)
	if no != nil {
		return no
	}
	if limit := float64(rt.limits.EventsPerSecond); limit > 0 && float64(len(messages))+rt.events.mean() > limit {
		return refusedWith(http.StatusTooManyRequests, "Too many messages to broadcast, please reduce the batch size")
	}
	slices.SortStableFunc(messages, func(a, b httpMessage) int { // the server sends the public ones first
		switch {
		case a.private == b.private:
			return 0
		case b.private:
			return -1
		}
		return 1
	})
	for _, m := range messages {
		if !m.private || rt.mayWrite(m.topic, ExtensionBroadcast, claims) {
			rt.events.add(1)
			_ = rt.relay(world{m.topic, m.private}, m.broadcast(), nil) // text has no fields that could be too long
		}
	}
	return nil
}

func (m httpMessage) broadcast() broadcast {
	text := broadcast{event: m.event, payload: m.payload, id: m.id}
	if m.id != "" {
		text.meta = rawjson.Must(map[string]string{"id": m.id})
	}
	return broadcast{kind: phoenix.Text, payload: text.object(), id: m.id}
}

const blank = "can't be blank"

// readBatch reads the body of a batch. What is wrong with it is told for each
// message.
func (rt *Server) readBatch(body []byte) ([]httpMessage, *httpRefusal) {
	invalid := func(what any) *httpRefusal {
		return &httpRefusal{http.StatusUnprocessableEntity, map[string]any{"errors": map[string]any{"messages": what}}}
	}
	request, _ := rawjson.Object(body)
	var list []json.RawMessage
	switch {
	case !rawjson.Present(request["messages"]):
		return nil, invalid([]string{blank})
	case json.Unmarshal(request["messages"], &list) != nil:
		return nil, invalid([]string{"is invalid"})
	case len(list) == 0:
		return nil, invalid([]string{blank})
	}
	messages, faults := make([]httpMessage, len(list)), make([]map[string][]string, len(list))
	bad := false
	for i, raw := range list {
		fields, ok := rawjson.Object(raw)
		if !ok {
			return nil, invalid([]string{"is invalid"})
		}
		messages[i], faults[i] = rt.readMessage(fields)
		bad = bad || len(faults[i]) > 0
	}
	if bad {
		return nil, invalid(faults)
	}
	return messages, nil
}

func (rt *Server) readMessage(fields map[string]json.RawMessage) (m httpMessage, faults map[string][]string) {
	faults = map[string][]string{}
	for name, to := range map[string]*string{"topic": &m.topic, "event": &m.event, "id": &m.id} {
		s, ok := rawjson.Text(fields[name])
		switch {
		case rawjson.Present(fields[name]) && !ok:
			faults[name] = []string{"is invalid"}
		case name != "id" && strings.TrimSpace(s) == "":
			faults[name] = []string{blank}
		}
		*to = s
	}
	m.payload, m.private = fields["payload"], rawjson.FlexibleBool(fields["private"])
	switch {
	case !rawjson.Present(m.payload):
		faults["payload"] = []string{blank}
	case !isObject(m.payload):
		faults["payload"] = []string{"is invalid"}
	case rt.limits.tooLarge(func() int { return termSize(m.payload) }):
		faults["payload"] = []string{payloadTooLarge}
	}
	if p := string(fields["private"]); rawjson.Present(fields["private"]) && !slices.Contains([]string{"true", "false", `"true"`, `"false"`, `"1"`, `"0"`}, p) {
		faults["private"] = []string{"is invalid"}
	} else if p == `"1"` {
		m.private = true
	}
	return m, faults
}

const payloadTooLarge = "Payload size exceeds tenant limit"

// broadcastSingle is POST /api/broadcast/{topic}/events/{event}, whose body is
// the payload.
func (rt *Server) broadcastSingle(r *http.Request, claims project.Claims, body []byte) *httpRefusal {
	b := broadcast{kind: phoenix.UserBroadcast, event: r.PathValue("event"), payload: body}
	if isJSON(r) || mediaType(r) == "" && json.Valid(body) {
		b.json, b.payload = true, singlePayload(body)
	}
	w := world{r.PathValue("topic"), r.URL.Query().Get("private") == "true"}
	switch {
	case rt.limits.EventsPerSecond > 0 && rt.events.mean() >= float64(rt.limits.EventsPerSecond):
		return refusedWith(http.StatusTooManyRequests, "You have exceeded your rate limit")
	case rt.limits.tooLarge(b.size):
		return &httpRefusal{http.StatusUnprocessableEntity, map[string]any{"errors": map[string][]string{"payload": {payloadTooLarge}}}}
	case w.private && !rt.mayWrite(w.name, ExtensionBroadcast, claims):
		return refusedWith(http.StatusForbidden, "Unauthorized")
	}
	rt.events.add(1)
	if rt.relay(w, b, nil) != nil {
		return refusedWith(http.StatusInternalServerError, "Internal Server Error")
	}
	return nil
}

// singlePayload returns the JSON of a single broadcast: an object as it is, and
// another value inside of one.
func singlePayload(body []byte) []byte {
	body = bytes.TrimSpace(body)
	switch {
	case len(body) == 0:
		return []byte("{}")
	case isObject(body):
		return compactJSON(body)
	}
	return append(append([]byte(`{"_json":`), compactJSON(body)...), '}')
}

// compactJSON removes the space from JSON that is valid.
func compactJSON(raw []byte) []byte {
	var b bytes.Buffer
	_ = json.Compact(&b, raw)
	return b.Bytes()
}
