package redact

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// harmless are the names of JSON members and parameters whose values are no
// secret in APIs whose content is not known: those of sign-in that a client or a
// reader needs.
var harmless = map[string]bool{}

func init() {
	for _, name := range []string{
		"aal", "aud", "columns", "confirmed_at", "count", "created_at", "description", "details", "email", "email_confirmed_at", "error", "error_code",
		"error_description", "expires_at", "expires_in", "factor_type", "grant_type", "hint", "id", "is_anonymous",
		"last_sign_in_at", "limit", "message", "msg", "name", "offset", "order", "page", "per_page", "phone", "phone_confirmed_at", "prefix", "private",
		"provider", "providers", "role", "scope", "select", "session_id", "status", "sub", "token_type", "type", "updated_at", "user_id",
		"username", "version", "vsn", "log_level", "channel_type",
	} {
		harmless[name] = true
	}
}

// Known redacts JSON of an API whose content is not known: numbers below 1,000,
// booleans and null stay, and of strings and other numbers those of members that
// are known to be harmless. What is no JSON is redacted whole.
func Known(b []byte) []byte {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var out bytes.Buffer
	if known(dec, &out, false) != nil {
		return []byte(Mark)
	}
	return out.Bytes()
}

// known copies the next value.
func known(dec *json.Decoder, out *bytes.Buffer, open bool) error {
	token, err := dec.Token()
	if err != nil {
		return err
	}
	switch t := token.(type) {
	case json.Delim:
		return knownContainer(dec, out, t, open)
	case string:
		if !open {
			t = Mark
		}
		return encode(out, String(t))
	case json.Number:
		if !open && len(t) > 3 {
			return encode(out, Mark)
		}
	}
	return encode(out, token)
}

// knownContainer copies an array, whose elements are as harmless as it is, or an
// object, whose members say by their names what they are.
func knownContainer(dec *json.Decoder, out *bytes.Buffer, opening json.Delim, open bool) error {
	out.WriteString(opening.String())
	for first := true; dec.More(); first = false {
		if !first {
			out.WriteByte(',')
		}
		if opening == '{' {
			key, err := dec.Token()
			if err != nil {
				return err
			}
			name, _ := key.(string)
			if err := encode(out, String(name)); err != nil {
				return err
			}
			out.WriteByte(':')
			open = harmless[strings.ToLower(name)]
		}
		if err := known(dec, out, open); err != nil {
			return err
		}
	}
	closing, err := dec.Token()
	if err == nil {
		out.WriteString(closing.(json.Delim).String())
	}
	return err
}

func encode(out *bytes.Buffer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	out.Write(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
	return err
}

// Form redacts the parameters of a form or a query but those that are known to be
// harmless. Their order stays.
func Form(raw string) string {
	parameters := strings.Split(raw, "&")
	for i, p := range parameters {
		name, value, has := strings.Cut(p, "=")
		plainName, err := url.QueryUnescape(name)
		switch {
		case err == nil && harmless[strings.ToLower(plainName)]:
			parameters[i] = Query(p)
		case has && value != "":
			parameters[i] = String(name) + "=" + Mark
		default:
			parameters[i] = String(p)
		}
	}
	return strings.Join(parameters, "&")
}

// rowAPIs are the paths below which the parameters of a query are about rows and
// channels, and are redacted by their names and content alone.
var rowAPIs = []string{"/rest/v1/", "/realtime/v1/", "/socket/", "/api/"}

// Request is URL for a request that is kept: of an API whose content is not known,
// the parameters but those that are known to be harmless are redacted.
func Request(u *url.URL) string {
	if u.RawQuery == "" || slices.ContainsFunc(rowAPIs, func(p string) bool { return strings.HasPrefix(u.Path, p) }) {
		return URL(u)
	}
	return String(u.EscapedPath()) + "?" + Form(u.RawQuery)
}

// Location redacts the address of a redirect: its parameters and its fragment.
func Location(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return Mark
	}
	if u.RawQuery != "" {
		u.RawQuery = Form(u.RawQuery)
	}
	if u.Fragment != "" {
		u.Fragment, u.RawFragment = "", ""
		return String(u.String()) + "#" + Mark
	}
	if u.User != nil {
		u.User = url.User("redacted")
	}
	return String(u.String())
}
