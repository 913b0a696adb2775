package mockserver

import (
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/auth"
)

// AnonKey returns the project's public API key, a JWT with the role anon.
func (s *Server) AnonKey() string { return s.anonKey }

// ServiceKey returns the project's secret API key, a JWT with the role
// service_role, which no policy holds up.
func (s *Server) ServiceKey() string { return s.service }

// PublishableKey returns the project's publishable key, which stands for the role
// anon: Config.PublishableKey, or one that is derived from the JWT secret.
func (s *Server) PublishableKey() string { return s.verifier.Publishable }

// SecretKey returns the project's secret key, which stands for the role
// service_role: Config.SecretKey, or one that is derived from the JWT secret.
func (s *Server) SecretKey() string { return s.verifier.Secure }

func (s *Server) projectKey(role string) string {
	return s.Sign(Claims{"iss": "supabase", "role": role, "exp": auth.FarAway.Unix()})
}

// Sign returns an HS256 token with these claims, signed with the secret of the
// server and not checked in any way. It panics if the claims have no JSON.
func (s *Server) Sign(claims Claims) string { return auth.Sign(s.secret, claims) }

// UserToken returns a token of a user, with role authenticated and audience
// authenticated, that expires after lifetime. A token says its times in whole
// seconds: two made within one second, alike in all else, are equal.
func (s *Server) UserToken(sub string, lifetime time.Duration) string {
	now := time.Now()
	return s.Sign(Claims{
		"sub": sub, "role": "authenticated", "aud": "authenticated",
		"iat": now.Unix(), "exp": now.Add(lifetime).Unix(),
	})
}
