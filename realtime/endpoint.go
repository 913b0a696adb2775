package realtime

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/gapless-go/gapless/internal/phoenix"
)

// endpoint is where the websocket of a project is, and the project's other
// APIs. The key is part of the websocket's query, so the full form is for
// dialing only; String is for people.
type endpoint struct {
	u       url.URL
	project *url.URL // without a slash at the end; nil: not known
}

// parseEndpoint makes the websocket's address from any of the forms in which
// people have it:
//
//	https://ref.supabase.co            a project, hosted or self-hosted (http and ws too; a path is kept)
//	wss://host/realtime/v1[/websocket] the gateway's route to the server
//	ws://host:4000/socket[/websocket]  the server itself
//
// Query parameters are kept: the server takes log_level there.
func parseEndpoint(raw, key string, v phoenix.Version) (endpoint, error) {
	u, err := url.Parse(raw)
	if err != nil {
		// url.Parse quotes its input, which may hold a key.
		return endpoint{}, errors.New("realtime: the URL cannot be parsed")
	}
	switch u.Scheme {
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	case "ws", "wss":
	default:
		return endpoint{}, fmt.Errorf("realtime: URL scheme %q, want http, https, ws or wss", u.Scheme)
	}
	if u.Host == "" {
		return endpoint{}, errors.New("realtime: URL without a host")
	}
	if u.User != nil {
		return endpoint{}, errors.New("realtime: URL with a user; the key goes into Options.Key")
	}
	path := strings.TrimRight(u.Path, "/")
	project := projectOf(u, path)
	switch {
	case strings.HasSuffix(path, "/websocket"):
	case strings.HasSuffix(path, "/socket"), strings.HasSuffix(path, "/realtime/v1"):
		path += "/websocket"
	default:
		path += "/realtime/v1/websocket"
	}
	query := withParameter(u.RawQuery, "apikey", key)
	query = withParameter(query, "vsn", v.String())
	return endpoint{url.URL{Scheme: u.Scheme, Host: u.Host, Path: path, RawQuery: query}, project}, nil
}

// withParameter returns a query with a parameter in the place of those of its
// name, at the end. The others stay as they are and where they are.
func withParameter(query, name, value string) string {
	var parameters []string
	for p := range strings.SplitSeq(query, "&") {
		has, _, _ := strings.Cut(p, "=")
		if plain, err := url.QueryUnescape(has); p != "" && (err != nil || plain != name) {
			parameters = append(parameters, p)
		}
	}
	value = strings.ReplaceAll(url.QueryEscape(value), "+", "%20")
	return strings.Join(append(parameters, name+"="+value), "&")
}

// projectOf returns the address of the project whose websocket is at u, nil
// for that of a server itself. The path has no slash at its end.
func projectOf(u *url.URL, path string) *url.URL {
	base, gateway := strings.CutSuffix(strings.TrimSuffix(path, "/websocket"), "/realtime/v1")
	if !gateway && (strings.HasSuffix(path, "/websocket") || strings.HasSuffix(path, "/socket")) {
		return nil
	}
	return &url.URL{Scheme: strings.Replace(u.Scheme, "ws", "http", 1), Host: u.Host, Path: base}
}

// parseProject reads Options.ProjectURL.
func parseProject(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil: // which quotes its input
		return nil, errors.New("realtime: Options.ProjectURL cannot be parsed")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("realtime: Options.ProjectURL has the scheme %q, want http or https", u.Scheme)
	case u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("realtime: Options.ProjectURL is to have a host and perhaps a path, and no more")
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimRight(u.Path, "/")}, nil
}

// api is the address of the Realtime server's HTTP API, beside its websocket.
func (e endpoint) api() *url.URL {
	path := strings.TrimSuffix(strings.TrimSuffix(e.u.Path, "/websocket"), "/socket")
	return &url.URL{Scheme: strings.Replace(e.u.Scheme, "ws", "http", 1), Host: e.u.Host, Path: path + "/api"}
}

// dial is the address with the key in it.
func (e endpoint) dial() string { return e.u.String() }

// String is the address without its query: it may be printed.
func (e endpoint) String() string {
	return (&url.URL{Scheme: e.u.Scheme, Host: e.u.Host, Path: e.u.Path}).String()
}
