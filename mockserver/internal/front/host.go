package front

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// OwnHost lets a request pass whose Host is a loopback name, an address, or that
// of own, a URL. A page of another site whose name was made to resolve to this
// machine (DNS rebinding) has that site's name as its Host, and is refused with
// status 403. Addresses cannot be made to resolve to another one.
func OwnHost(own string, next http.Handler) http.Handler {
	name := ""
	if u, err := url.Parse(own); err == nil {
		name = u.Hostname()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host := hostname(r.Host); host != name && !isLocal(host) {
			WriteJSON(w, http.StatusForbidden, map[string]string{"error": "the request is for another host"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostname returns a host without its port, in lower case.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}

// isLocal reports whether a host is a name of this machine for itself, or an
// address.
func isLocal(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
