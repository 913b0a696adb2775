package phoenix

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// EncodePayload is json.Marshal that refuses text that is not UTF-8: it would go out
// changed.
func EncodePayload(payload any) ([]byte, error) {
	text, err := json.Marshal(payload)
	if err == nil && (!utf8.Valid(text) || replaced(text)) {
		err = ErrNotUTF8
	}
	return text, err
}

// replaced reports whether text has the escape that encoding/json writes for a
// byte that is not UTF-8. It writes U+FFFD itself without one.
func replaced(text []byte) bool {
	for {
		at := bytes.Index(text, []byte(`\ufffd`))
		if at < 0 {
			return false
		}
		slashes := len(text[:at]) - len(bytes.TrimRight(text[:at], `\`))
		if slashes%2 == 0 {
			return true
		}
		text = text[at+1:]
	}
}
