// Package redact takes keys, tokens and passwords out of what is shown or kept
// of a conversation with a project: frames, URLs, and HTTP messages. It is
// pure, and leaves every other byte as it was.
package redact

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/gapless-go/gapless/internal/phoenix"
)

// Mark stands where a secret was.
const Mark = "[redacted]"

// secrets are the names of JSON members, query parameters and headers whose
// values are secret, whatever they look like.
var secrets = map[string]bool{}

func init() {
	for _, name := range []string{
		"access_token", "api_key", "apikey", "auth_code", "authorization", "captcha_token", "client_secret", "code_verifier",
		"cookie", "hashed_token", "id_token", "jwt", "jwt_secret", "password", "provider_refresh_token", "provider_token",
		"proxy-authorization", "refresh_token", "secret", "service_role_key", "set-cookie", "token", "token_hash", "user_token",
		"x-api-key", "auth_token", "nonce", "session_token", "headers", "x-supabase-api-key",
	} {
		secrets[name] = true
	}
}

// secretParts make a name secret that has them anywhere, however its words are
// joined.
var secretParts = []string{"password", "passwd", "passphrase", "secret", "accesstoken", "refreshtoken", "idtoken", "authtoken", "apikey", "privatekey", "credential", "otp"}

var joints = strings.NewReplacer("_", "", "-", "", " ", "")

func isSecret(name string) bool {
	name = strings.ToLower(name)
	if secrets[name] {
		return true
	}
	name = joints.Replace(name)
	for _, part := range secretParts {
		if strings.Contains(name, part) && (part != "otp" || name == part || name == "totp") {
			return true
		}
	}
	return false
}

var (
	// jwt is two JSON objects in base64url, and what follows them. An object
	// begins with {" or, with white space, with other bytes that begin so.
	jwt = regexp.MustCompile(`e[wy][A-Za-z0-9_-]{6,}\.e[wy][A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)*`)
	// key is a key of the newer kind, or a personal access token.
	key    = regexp.MustCompile(`\b(sb_(?:secret|publishable)_|sbp_)[A-Za-z0-9_-]+`)
	bearer = regexp.MustCompile(`(?i)\b((?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}`)
	// dsn is a URL with a password.
	dsn = regexp.MustCompile(`\b([a-zA-Z][a-zA-Z0-9+.-]*://[^\s/:@"\\]*:)[^\s/@"\\]+@`)
	// packed is base64 that is long enough for a secret with a name.
	packed = regexp.MustCompile(`[A-Za-z0-9+/_-]{32,}={0,2}`)
	query  = regexp.MustCompile(`(?i)([?&#](?:apikey|api_key|access_token|refresh_token|id_token|token|token_hash|jwt|password)=)[^&#\s"\\]+`)
)

// plain redacts what looks like a secret wherever it stands. Expressions are
// slow, so each is asked only where a part of it that is quick to find is.
func plain(b []byte) []byte {
	if len(b) < 8 {
		return b
	}
	if bytes.Contains(b, []byte(".e")) {
		b = jwt.ReplaceAllLiteral(b, []byte(Mark))
	}
	if bytes.Contains(b, []byte("sb")) {
		b = key.ReplaceAll(b, []byte("${1}"+Mark))
	}
	if i := bytes.IndexAny(b, "bB"); i >= 0 && bytes.ContainsAny(b[i:], " \t") {
		b = bearer.ReplaceAll(b, []byte("${1}"+Mark))
	}
	if bytes.Contains(b, []byte("://")) {
		b = dsn.ReplaceAll(b, []byte("${1}"+Mark+"@"))
	}
	if len(b) >= 32 {
		b = packed.ReplaceAllFunc(b, unpacked)
	}
	if bytes.IndexByte(b, '=') >= 0 {
		b = query.ReplaceAll(b, []byte("${1}"+Mark))
	}
	if !bytes.Contains(b, []byte(`\u00`)) {
		return b
	}
	// An escape that is not in a string of JSON, such as one of a string that
	// was put into another without its quotes.
	if open := escape.ReplaceAllFunc(b, unescaped); !bytes.Equal(open, b) {
		if safe := plain(open); !bytes.Equal(safe, open) {
			return safe
		}
	}
	return b
}

// unpacked redacts base64 of JSON that has a secret in it.
func unpacked(b []byte) []byte {
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		raw, err := encoding.DecodeString(strings.TrimRight(string(b), "="))
		if err == nil && bytes.IndexByte(raw, '"') >= 0 && !bytes.Equal(text(raw, maxDepth), raw) {
			return []byte(Mark)
		}
	}
	return b
}

// escape is a character of a token that is written as an escape.
var escape = regexp.MustCompile(`\\u00(?:2[dDeE]|3[0-9]|4[1-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aA])`)

func unescaped(b []byte) []byte {
	c, _ := strconv.ParseUint(string(b[4:]), 16, 8) // two digits
	return []byte{byte(c)}
}

// Text redacts JSON, or any other text. In JSON it reads escapes, and JSON
// within strings. What has no secret comes back as it is, and b itself never
// changes.
func Text(b []byte) []byte { return text(b, 0) }

// String is Text.
func String(s string) string { return string(Text([]byte(s))) }

// maxDepth bounds JSON within strings of JSON. Each level doubles the
// backslashes, so that real ones end soon.
const maxDepth = 4

// text goes through b string by string, and tells keys from values by the
// colon behind them. It needs no valid JSON for that.
func text(b []byte, depth int) []byte {
	if bytes.IndexByte(b, '"') < 0 {
		return plain(b)
	}
	var out []byte
	secret := false // the last key was the name of a secret
	for len(b) > 0 {
		quote := bytes.IndexByte(b, '"')
		if quote < 0 {
			quote = len(b)
		}
		out = append(out, between(b[:quote], secret)...)
		if b = b[quote:]; len(b) == 0 {
			break
		}
		end := stringEnd(b)
		literal := b[:end]
		b = b[end:]
		switch {
		case bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte(":")):
			secret = isSecret(decoded(literal))
			out = append(out, value(literal, depth)...)
			if n := container(b); secret && n > 0 {
				out = append(out, `:"`+Mark+`"`...)
				b, secret = b[n:], false
			}
		case secret:
			out = append(out, `"`+Mark+`"`...)
		default:
			out = append(out, value(literal, depth)...)
		}
	}
	return out
}

// container returns the length of a colon and the array or object behind it, or of
// all that there is of them; 0: there is none.
func container(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			i += stringEnd(b[i:]) - 1
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			if depth--; depth <= 0 {
				return i + 1
			}
		}
		if c := b[i]; depth == 0 && c != ':' && c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return 0
		}
	}
	if depth > 0 {
		return len(b)
	}
	return 0
}

var number = regexp.MustCompile(`-?[0-9][0-9.eE+-]*`)

// between redacts what stands between two strings: numbers, behind the name
// of a secret, and what is no JSON.
func between(b []byte, secret bool) []byte {
	if secret {
		b = number.ReplaceAllLiteral(b, []byte(`"`+Mark+`"`))
	}
	return plain(b)
}

// value redacts a string literal.
func value(literal []byte, depth int) []byte {
	if bytes.IndexByte(literal, '\\') < 0 {
		return plain(literal)
	}
	content := decoded(literal)
	var safe []byte
	if depth < maxDepth {
		safe = text([]byte(content), depth+1)
	} else {
		safe = plain([]byte(content))
	}
	if string(safe) == content {
		return plain(literal)
	}
	var buffer bytes.Buffer
	enc := json.NewEncoder(&buffer)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(string(safe)) // a string always encodes
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n"))
}

// longestEscape is the length of a character that is escaped in two halves.
const longestEscape = len(`\ud83d\ude00`)

// stringEnd returns the length of the string literal that b begins with: all
// of b if it does not end.
func stringEnd(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// decoded returns the content of a string literal, or of the beginning of one;
// as it stands there if it is none.
func decoded(literal []byte) string {
	var s string
	if json.Unmarshal(literal, &s) == nil {
		return s
	}
	for cut := range min(len(literal), longestEscape) {
		if json.Unmarshal(append(bytes.Clone(literal[:len(literal)-cut]), '"'), &s) == nil {
			return s
		}
	}
	return strings.Trim(string(literal), `"`)
}

// Frame redacts a websocket message. A binary one keeps its form.
func Frame(v phoenix.Version, from phoenix.Side, binary bool, frame []byte) []byte {
	if !binary {
		return Text(frame)
	}
	m, err := phoenix.Decode(v, from, true, frame)
	if err != nil { // nobody knows what is in it, if it is long enough for anything
		switch {
		case len(frame) < 8:
			return frame
		case json.Valid(frame):
			return Text(frame)
		}
		return []byte(Mark)
	}
	safe := m
	safe.Topic, safe.Event, safe.UserEvent = String(m.Topic), String(m.Event), String(m.UserEvent)
	safe.Payload, safe.Meta = Text(m.Payload), Text(m.Meta)
	if safe.Topic == m.Topic && safe.Event == m.Event && safe.UserEvent == m.UserEvent &&
		bytes.Equal(safe.Payload, m.Payload) && bytes.Equal(safe.Meta, m.Meta) {
		return frame
	}
	b, _, err := phoenix.Append(nil, v, from, safe)
	if err != nil {
		return []byte(Mark)
	}
	return b
}

// URL redacts the path and the query of a URL, and returns both as they would
// stand in a request.
func URL(u *url.URL) string {
	path := String(u.EscapedPath())
	if u.RawQuery == "" {
		return path
	}
	return path + "?" + Query(u.RawQuery)
}

// Query redacts a query. The order of its parameters stays.
func Query(raw string) string {
	parameters := strings.Split(raw, "&")
	for i, p := range parameters {
		name, value, _ := strings.Cut(p, "=")
		plainName, err := url.QueryUnescape(name)
		if err == nil && isSecret(plainName) {
			parameters[i] = name + "=" + Mark
			continue
		}
		plainValue, err := url.QueryUnescape(value)
		if err == nil && String(plainValue) != plainValue {
			parameters[i] = name + "=" + url.QueryEscape(String(plainValue))
			continue
		}
		parameters[i] = String(p)
	}
	return strings.Join(parameters, "&")
}

// Header redacts the value of a header. Of Authorization the scheme stays.
func Header(name, value string) string {
	if !isSecret(name) {
		return String(value)
	}
	if scheme, _, two := strings.Cut(value, " "); two && strings.EqualFold(name, "Authorization") && len(scheme) < 10 {
		return scheme + " " + Mark
	}
	return Mark
}
