package auth

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// gatewayError is what the gateway before the REST and Auth APIs says of an
// API key.
type gatewayError struct {
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

// APIKey returns the API key of a request, in the header or the query.
func APIKey(r *http.Request) string {
	if key := r.Header.Get("apikey"); key != "" {
		return key
	}
	return r.URL.Query().Get("apikey")
}

// CheckAPIKey wants a key of the project: its publishable or secret key, or a JWT
// of the role anon or service_role that it has signed.
func CheckAPIKey(v *Verifier, r *http.Request) *gatewayError {
	key := APIKey(r)
	if key == "" {
		return &gatewayError{"No API key found in request", "No `apikey` request header or url param was found."}
	}
	if _, err := keyClaims(v, key); err != nil {
		return &gatewayError{"Invalid API key", "Double check your Supabase `anon` or `service_role` API key."}
	}
	return nil
}

var errNoProjectKey = errors.New("mockserver: not a key of the project")

// keyClaims returns the claims that an API key stands for.
func keyClaims(v *Verifier, key string) (project.Claims, error) {
	if role, ok := v.KeyRole(key); ok {
		return project.Claims{"role": role}, nil
	}
	claims, _, err := v.Verify(key)
	if err != nil {
		return nil, err
	}
	if role := project.RoleOf(claims); role != "anon" && role != "service_role" {
		return nil, errNoProjectKey
	}
	return claims, nil
}

// IsServiceKey reports whether an API key is that of the role service_role. The
// gateway gives the description of the API to no other since April 2026.
func IsServiceKey(v *Verifier, key string) bool {
	claims, err := keyClaims(v, key)
	return err == nil && project.RoleOf(claims) == "service_role"
}

// callerClaims returns the claims that a request runs under: those of its bearer
// token, or without one those of its API key. A key counts in Authorization only
// where it equals the API key, since supabase-js sends it in both while nobody is
// signed in. Token is what was read.
func callerClaims(v *Verifier, r *http.Request) (claims project.Claims, token string, err error) {
	token, given := BearerToken(r)
	if !given || token != "" && token == APIKey(r) {
		token = APIKey(r)
		claims, err = keyClaims(v, token)
		return claims, token, err
	}
	claims, _, err = v.Verify(token)
	return claims, token, err
}

// Authenticate is callerClaims for the REST API. The error is a *project.Refusal.
func Authenticate(v *Verifier, r *http.Request) (project.Claims, error) {
	claims, token, err := callerClaims(v, r)
	code, text := "PGRST301", ""
	if err != nil {
		text = restTokenText(token, err)
		var fault *TokenError
		if errors.As(err, &fault) && fault.Fault >= Expired {
			code = "PGRST303" // the token is good, and its claims are not
		}
	} else if text = tooEarly(claims); text != "" {
		code = "PGRST303"
	}
	if text != "" {
		e := project.Refuse(http.StatusUnauthorized, code, "%s", text)
		e.Challenge = `Bearer error="invalid_token", error_description="` + e.Message + `"`
		return nil, e
	}
	return claims, nil
}

// clockSkew is how far PostgREST's clock and that of who signs may differ.
const clockSkew = 30

// tooEarly returns what PostgREST says of claims that do not hold yet; empty: they
// do.
func tooEarly(claims project.Claims) string {
	now := float64(time.Now().Unix() + clockSkew)
	for _, c := range []struct{ claim, text string }{{"nbf", "JWT not yet valid"}, {"iat", "JWT issued at future"}} {
		if at, ok := claims[c.claim].(float64); ok && at > now {
			return c.text
		}
	}
	return ""
}

// BearerToken returns the token of the header Authorization.
func BearerToken(r *http.Request) (string, bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), strings.EqualFold(scheme, "bearer")
}

// restTokenText is what PostgREST says of a token.
func restTokenText(token string, err error) string {
	var fault *TokenError
	errors.As(err, &fault)
	switch {
	case token == "":
		return "Empty JWT is sent in Authorization header"
	case fault.Fault == Expired:
		return "JWT expired"
	case fault.Fault == NoSigner, fault.Fault == BadSignature:
		return "No suitable key or wrong key type"
	case fault.Fault == NoFields, fault.Fault == BadExpiry:
		return "JWT claims invalid: " + fault.Error()
	}
	return "JWT couldn't be decoded"
}
