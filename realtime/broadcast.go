package realtime

import (
	"bytes"
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
	"unicode/utf8"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/secret"
	"github.com/gapless-go/gapless/internal/text"
)

// BroadcastMessage is a broadcast over HTTP. Everybody who has joined the topic gets it,
// this client's own channels, too.
type BroadcastMessage struct {
	Topic string // without the prefix "realtime:"
	Event string
	// Payload is made JSON of by encoding/json. In a batch it must be an object.
	Payload any
	// Binary, if not nil, is the payload instead. BroadcastSingle alone takes it,
	// and receivers that speak version 1.0.0 of the protocol do not get it.
	Binary []byte
	// Private is whether it goes to the private channels of the topic or to the
	// public ones, which are apart.
	Private bool
	// ID, a UUID, is given to the receivers as channel.Broadcast.ID. Broadcast
	// alone takes it.
	ID string
	// Persist has the server store a private message, so that channels which join
	// later get it by channel.ReplayBroadcasts: for the time TTL, in whole seconds
	// and 72 hours at most, or, if that is 0, for as long as messages of the
	// database. BroadcastSingle alone takes it; a server from before late 2026
	// sends the message and does not store it.
	Persist bool
	TTL     time.Duration
}

// BroadcastError is a broadcast over HTTP that the server did not accept. No
// message of the call was sent.
type BroadcastError struct {
	// Status is that of HTTP: 401 for a bad token, 403 where a policy forbids
	// (BroadcastSingle) or the project is suspended, 413 over 8 MB, 422 for
	// messages that are not valid, 429 over the project's rate.
	Status  int
	Message string // the server's text, if it gave one
	// Faults, with 422, are what is wrong with each message, by field; nil where
	// nothing is.
	Faults []map[string][]string
}

func (e *BroadcastError) Error() string {
	reason := e.Message
	if reason == "" {
		reason = http.StatusText(e.Status)
	}
	for i, faults := range e.Faults {
		if len(faults) > 0 {
			reason = fmt.Sprintf("message %d: %s", i, text.Clean(fmt.Sprint(faults), maxErrorText))
			break
		}
	}
	return fmt.Sprintf("realtime: broadcast: HTTP %d: %s", e.Status, reason)
}

// Broadcast sends messages over HTTP, without a websocket and without joining
// anything, as whom Do acts. The server takes all of them or none: a
// *BroadcastError.
//
// Accepted is not delivered: a private message that no policy lets the role
// send is dropped and accepted all the same. BroadcastSingle tells. Nothing is
// tried again; after an error that is no *BroadcastError the messages may or may
// not have been sent. It blocks as Do does.
func (c *Client) Broadcast(ctx context.Context, messages ...BroadcastMessage) error {
	type wire struct {
		Topic   string          `json:"topic"`
		Event   string          `json:"event"`
		Payload json.RawMessage `json:"payload"`
		Private bool            `json:"private"`
		ID      string          `json:"id,omitempty"`
	}
	var batch struct {
		Messages []wire `json:"messages"`
	}
	if len(messages) == 0 {
		return nil
	}
	for i, m := range messages {
		payload, err := m.json()
		switch {
		case err != nil:
		case m.Binary != nil || m.Persist:
			err = errors.New("a batch has no binary and no persisted messages")
		case !bytes.HasPrefix(payload, []byte("{")):
			err = errors.New("the payload is no object")
		}
		if err != nil {
			return fmt.Errorf("realtime: broadcast: message %d: %w", i, err)
		}
		batch.Messages = append(batch.Messages, wire{m.Topic, m.Event, payload, m.Private, m.ID})
	}
	body, err := json.Marshal(batch)
	if err != nil {
		return fmt.Errorf("realtime: broadcast: %w", err)
	}
	return c.postBroadcast(ctx, c.endpoint.api().JoinPath("broadcast"), "application/json", body)
}

// BroadcastSingle sends one message over HTTP, with a payload of any JSON or
// binary. JSON that is no object arrives as {"_json": payload}. Unlike with
// Broadcast, a private message that no policy lets the role send is an error:
// 403. It needs a server of 2026 or later: 404 before.
func (c *Client) BroadcastSingle(ctx context.Context, m BroadcastMessage) error {
	body, err := m.json()
	if err != nil {
		return fmt.Errorf("realtime: broadcast: %w", err)
	}
	contentType := "application/json"
	if m.Binary != nil {
		body, contentType = m.Binary, "application/octet-stream"
	}
	to := c.endpoint.api()
	to.RawPath = to.EscapedPath() + "/broadcast/" + url.PathEscape(m.Topic) + "/events/" + url.PathEscape(m.Event)
	to.Path += "/broadcast/" + m.Topic + "/events/" + m.Event
	query := url.Values{}
	if m.Private {
		query.Set("private", "true")
	}
	switch {
	case m.TTL > 0:
		query.Set("persist[ttl]", strconv.FormatInt(int64(m.TTL/time.Second), 10))
	case m.Persist:
		query.Set("persist", "true")
	}
	to.RawQuery = query.Encode()
	return c.postBroadcast(ctx, to, contentType, body)
}

// maxField is what the length of a topic or an event may be in the messages
// that receivers get.
const maxField = 255

// json checks the message and returns its payload.
func (m BroadcastMessage) json() ([]byte, error) {
	switch {
	case m.Topic == "" || m.Event == "":
		return nil, errors.New("a message needs a topic and an event")
	case !utf8.ValidString(m.Topic + m.Event + m.ID):
		return nil, phoenix.ErrNotUTF8
	case strings.HasPrefix(m.Topic, phoenix.TopicPrefix):
		return nil, fmt.Errorf("topic %q: give it without the prefix %q", m.Topic, phoenix.TopicPrefix)
	case len(phoenix.TopicPrefix)+len(m.Topic) > maxField || len(m.Event) > maxField:
		return nil, fmt.Errorf("a topic with its prefix, and an event, have %d bytes at most", maxField)
	case m.Binary != nil && m.Payload != nil:
		return nil, errors.New("a message has one payload, not two")
	case m.Persist && !m.Private:
		return nil, errors.New("only a private message can be persisted")
	case !phoenix.IsTTL(m.TTL) || m.TTL > 0 && !m.Persist:
		return nil, fmt.Errorf("a message cannot be persisted for %v", m.TTL)
	}
	return phoenix.EncodePayload(m.Payload)
}

func (c *Client) postBroadcast(ctx context.Context, to *url.URL, contentType string, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("realtime: broadcast: %w", err)
	}
	r.Header.Set("Content-Type", contentType)
	resp, err := c.do(r, to, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusAccepted {
		return nil
	}
	return broadcastError(resp, c.secrets()...)
}

const (
	// maxErrorBody is how much is read of an answer that says what was wrong.
	maxErrorBody = 64 << 10
	// maxErrorText bounds each text in it.
	maxErrorText = 300
)

// broadcastError reads a refusal, of which it takes no more than maxErrorBody.
func broadcastError(resp *http.Response, secrets ...string) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // what there is of it
	return parseBroadcastError(resp.StatusCode, []byte(secret.Hide(string(body), secrets...)))
}

func parseBroadcastError(status int, body []byte) *BroadcastError {
	e := &BroadcastError{Status: status}
	var answer struct {
		Message any                        `json:"message"`
		Error   any                        `json:"error"`
		Errors  map[string]json.RawMessage `json:"errors"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return e
	}
	e.Message = cleaned(answer.Message) + cleaned(answer.Error)
	var messages []json.RawMessage
	if json.Unmarshal(answer.Errors["messages"], &messages) != nil && len(answer.Errors) > 0 {
		all, _ := json.Marshal(answer.Errors) // JSON that has been read
		e.Message = cleaned(string(all))
	}
	for _, raw := range messages {
		var faults map[string][]string
		if json.Unmarshal(raw, &faults) != nil { // a text about all of them
			var about any
			_ = json.Unmarshal(raw, &about)
			e.Message = cleaned(about)
			continue
		}
		e.Faults = append(e.Faults, cleanFaults(faults))
	}
	return e
}

func cleanFaults(faults map[string][]string) map[string][]string {
	var clean map[string][]string // nil where there are none
	for field, texts := range faults {
		for i, t := range texts {
			texts[i] = cleaned(t)
		}
		if clean == nil {
			clean = map[string][]string{}
		}
		clean[cleaned(field)] = texts
	}
	return clean
}

// cleaned is a text that the server sent, empty if it is none.
func cleaned(v any) string {
	s, _ := v.(string)
	return text.Clean(s, maxErrorText)
}
