package front

import (
	"net/http"
	"net/url"

	"github.com/gapless-go/gapless/internal/origin"
)

// OwnHost lets a request pass whose Host is one of this machine, or that of own, a
// URL: see origin.IsOwnHost. Others are refused with status 403.
func OwnHost(own string, next http.Handler) http.Handler {
	name := ""
	if u, err := url.Parse(own); err == nil {
		name = u.Hostname()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !origin.IsOwnHost(r.Host, name) {
			WriteJSON(w, http.StatusForbidden, map[string]string{"error": "the request is for another host"})
			return
		}
		next.ServeHTTP(w, r)
	})
}
