package wire

import (
	"net/http"
	"regexp"

	"github.com/gapless-go/gapless/internal/phoenix"
)

var Serializer = regexp.MustCompile(`^([12])\.0\.(0|[1-9]\d*)$`)

// VersionOf reads the serializer that a client asks for: 1.0.0 if it does not.
func VersionOf(r *http.Request) (phoenix.Version, bool) {
	query := r.URL.Query()
	if !query.Has("vsn") {
		return phoenix.V1, true
	}
	switch m := Serializer.FindStringSubmatch(query.Get("vsn")); {
	case m == nil:
		return 0, false
	case m[1] == "2":
		return phoenix.V2, true
	}
	return phoenix.V1, true
}

// RefText returns a ref as JSON text.
func RefText(r phoenix.Ref) string {
	if r == "" {
		return "null"
	}
	return string(r)
}

// Reply is the answer to a message. The response is JSON text.
func Reply(topic string, joinRef, ref phoenix.Ref, status, response string) phoenix.Message {
	return phoenix.Message{
		JoinRef: joinRef, Ref: ref, Topic: topic, Event: phoenix.EventReply,
		Payload: []byte(`{"status":"` + status + `","response":` + response + `}`),
	}
}
