package origin

import (
	"net"
	"net/netip"
	"strings"
)

// IsOwnHost reports whether a request's Host is a loopback name, an address, or the
// server's own name. A page of another site whose name was made to resolve to this
// machine (DNS rebinding) has that site's name as its Host. An address cannot be
// made to resolve to another one.
func IsOwnHost(host, own string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || own != "" && host == strings.ToLower(own)
}
