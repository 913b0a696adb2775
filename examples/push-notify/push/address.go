package push

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// PushServices are the hosts of the push services of the browsers that there are.
// One that begins with a dot stands for the hosts below it.
var PushServices = []string{
	"fcm.googleapis.com", ".push.services.mozilla.com", ".push.apple.com", ".notify.windows.com",
}

// isService reports whether an address is https at one of the hosts, or below one
// that begins with a dot.
func isService(u *url.URL, hosts []string) bool {
	host := strings.ToLower(u.Hostname())
	return u.Scheme == "https" && (u.Port() == "" || u.Port() == "443") && slices.ContainsFunc(hosts, func(h string) bool {
		return host == h || strings.HasPrefix(h, ".") && strings.HasSuffix(host, h)
	})
}

// isBelow reports whether an address is below a prefix, as any server reads it:
// without dots, escapes or empty parts that could lead elsewhere.
func isBelow(address, prefix string) bool {
	u, err := url.Parse(address)
	return err == nil && strings.HasPrefix(address, prefix) && address != prefix &&
		u.RawPath == "" && u.RawQuery == "" && u.Fragment == "" && path.Clean(u.Path) == u.Path && !strings.Contains(u.Path, `\`)
}

// PublicClient is an HTTP client for addresses that others have given: it follows
// no redirect and connects to no private, local or reserved address, whatever name
// has led there.
func PublicClient() *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if ip := at.Addr().Unmap(); err != nil || !ip.IsGlobalUnicast() || ip.IsPrivate() || reserved(ip) {
			return errors.New("the address is not public")
		}
		return nil
	}}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext, transport.Proxy = dialer.DialContext, nil
	return unredirected(&http.Client{Transport: transport})
}

// reserved reports addresses that are global by their form and reach nobody, or
// somebody inside: carrier NAT, benchmarks, documentation, translated IPv4.
func reserved(ip netip.Addr) bool {
	return slices.ContainsFunc([]string{"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
		"240.0.0.0/4", "64:ff9b::/96", "64:ff9b:1::/48", "2001:db8::/32", "2002::/16"}, func(p string) bool { return netip.MustParsePrefix(p).Contains(ip) })
}

// unredirected is a client that takes a redirect for an answer.
func unredirected(c *http.Client) *http.Client {
	if c == nil {
		c = http.DefaultClient
	}
	copied := *c
	copied.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &copied
}
