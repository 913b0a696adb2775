// Package transcripttest is what the tests have in common that play recordings of
// the real server against the mock server, in memory and on PostgreSQL.
package transcripttest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/transcript"
)

// ByServer are the codes with which the real server ended a socket.
var ByServer = map[int]bool{1000: true, 1001: true, 1009: true, 1012: true}

// Age is how long ago a token expired, which differs from run to run.
var Age = regexp.MustCompile(`expired \d+ seconds`)

// NotJSON finds the payload of a text message which is no JSON since a client's
// broadcast has brought it.
var NotJSON = regexp.MustCompile(`"payload":(.*),"ref":null`)

var cut = regexp.MustCompile(`x*… \((.*), cut\)`)

// Whole returns a message to be sent, with what the recording has cut of it.
func Whole(l transcript.Line, v phoenix.Version, written map[string]string) []byte {
	m := cut.FindStringSubmatch(l.Frame)
	if m == nil {
		return l.Bytes()
	}
	begin, _, _ := strings.Cut(l.Frame, m[0])
	end := `"}}]`
	if v == phoenix.V1 {
		end = `"}},"ref":"11","join_ref":"1"}`
	}
	return []byte(begin + written[m[1]] + end)
}

// Request makes a recorded request: its method and path, headers and body.
func Request(ctx context.Context, client *http.Client, base string, l transcript.Line) (*http.Response, error) {
	head, body, _ := strings.Cut(l.Frame, "\n\n")
	lines := strings.Split(head, "\n")
	method, path, _ := strings.Cut(lines[0], " ")
	if encoded, ok := strings.CutPrefix(body, "base64:"); ok {
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return nil, err
		}
		body = string(raw)
	}
	r, err := http.NewRequestWithContext(ctx, method, base+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	return client.Do(r)
}

// CheckRefusal compares the answer to an upgrade with the recorded refusal.
func CheckRefusal(t *testing.T, name, recorded string, got *http.Response) {
	t.Helper()
	var want struct {
		Status      int
		Body        string
		ContentType string `json:"content_type"`
	}
	require.NoError(t, json.Unmarshal([]byte(recorded), &want))
	require.NotNil(t, got, name)
	require.Equal(t, want.Status, got.StatusCode, name)
	body, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	require.Equal(t, want.Body, string(body), name)
	if want.ContentType != "" {
		require.Equal(t, want.ContentType, got.Header.Get("Content-Type"), name)
	}
}

// IDs are those of the mock server's bindings by the recorded ones.
type IDs map[string]string

var (
	bindingID  = regexp.MustCompile(`\{"id":(\d+)`)
	bindingIDs = regexp.MustCompile(`"(?:id|ids)":(?:\d+|\[[\d,]*\])`)
	number     = regexp.MustCompile(`\d+`)
)

// Learn pairs the ids in the replies to joins among the frames of a socket. The
// error says that there are not as many, or that equal bindings have others.
func (ids IDs) Learn(want, got [][]byte) (err error) {
	of := func(frames [][]byte) (found []string) {
		for _, f := range frames {
			if strings.Contains(string(f), `"phx_reply"`) {
				for _, m := range bindingID.FindAllSubmatch(f, -1) {
					found = append(found, string(m[1]))
				}
			}
		}
		return found
	}
	w, g := of(want), of(got)
	if len(w) != len(g) {
		err = fmt.Errorf("%d bindings are echoed, and not %d", len(g), len(w))
	}
	for i := range min(len(w), len(g)) {
		if known, ok := ids[w[i]]; ok && known != g[i] {
			err = errors.New("equal bindings have ids that differ")
		}
		ids[w[i]] = g[i]
	}
	return err
}

// Translate puts the mock server's ids in the place of recorded ones, in their
// order.
func (ids IDs) Translate(payload string) string {
	return bindingIDs.ReplaceAllStringFunc(payload, func(member string) string {
		return number.ReplaceAllStringFunc(member, func(id string) string {
			if own, ok := ids[id]; ok {
				return own
			}
			return id
		})
	})
}

// RowText returns what PostgreSQL has written in a change, whose spaces and order
// of keys the server passes on; empty where the payload is no object.
func RowText(payload []byte) string {
	var change struct {
		Data struct {
			Columns   json.RawMessage
			Record    json.RawMessage
			OldRecord json.RawMessage `json:"old_record"`
		}
	}
	if json.Unmarshal(payload, &change) != nil {
		return ""
	}
	return fmt.Sprintf(" %s %s %s", change.Data.Columns, change.Data.Record, change.Data.OldRecord)
}
