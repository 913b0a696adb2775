package auth

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"

	"github.com/golang-jwt/jwt/v5"

	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// Reason is what is wrong with a token. Each part of the server has its own
// words for it.
type Reason uint8

const (
	Malformed Reason = iota + 1
	NoSigner         // no key for its algorithm and kid
	BadSignature
	Expired
	NoFields  // role or exp is missing
	BadExpiry // exp is no number
)

// TokenError says why a token was refused. It holds nothing of the token but
// its kid.
type TokenError struct {
	Fault Reason
	ago   int64  // how long it has been expired, in seconds
	kid   string // of NoSigner; may be empty
}

// Error returns what the server says of a token in the middle of a channel's
// life, but for signatures, of which see SystemText.
func (e *TokenError) Error() string {
	switch e.Fault {
	case Malformed:
		return "The token provided is not a valid JWT"
	case NoSigner:
		key := ""
		if e.kid != "" {
			key = fmt.Sprintf(" for key ID (kid) %q", e.kid)
		}
		return "Failed to generate JWT signer" + key + ", check your JWT secret or JWKS configuration"
	case BadSignature:
		return "Failed to validate JWT signature"
	case Expired:
		return fmt.Sprintf("Token has expired %d seconds ago", e.ago)
	case NoFields:
		return "Fields `role` and `exp` are required in JWT"
	default:
		return "Token expiration time is invalid"
	}
}

// UpgradeText is the words for it at the upgrade.
func (e *TokenError) UpgradeText() string {
	if e.Fault == Expired {
		return "Token has expired"
	}
	return e.Error()
}

// JoinReason is the reason of a refused join.
func (e *TokenError) JoinReason() string {
	code := "InvalidJWTToken"
	switch e.Fault {
	case Malformed:
		code = "MalformedJWT"
	case NoSigner:
		code = "JwtSignerError"
	case BadSignature:
		code = "JwtSignatureError"
	}
	return code + ": " + e.Error()
}

// SystemText is the system message before the server closes a channel.
func (e *TokenError) SystemText() string {
	if e.Fault == BadSignature {
		return ":signature_error" // the server has no words for this one, and shows its atom
	}
	return e.Error()
}

// Verifier checks tokens as Realtime does. It is safe for concurrent use.
type Verifier struct {
	Keys
	parser *jwt.Parser
}

// Keys are what tokens are signed with, and the keys of the project that are no
// tokens.
type Keys struct {
	Secret              string // of HS256
	Public              []VerificationKey
	Publishable, Secure string // of the roles anon and service_role; empty: derived from Secret
}

// NewVerifier makes a verifier, with the keys that are derived where none is given.
func NewVerifier(keys Keys) *Verifier {
	keys.Publishable = cmp.Or(keys.Publishable, derivedKey(keys.Secret, PublishablePrefix))
	keys.Secure = cmp.Or(keys.Secure, derivedKey(keys.Secret, SecretPrefix))
	return &Verifier{Keys: keys, parser: jwt.NewParser(jwt.WithoutClaimsValidation())}
}

// KeyRole returns the role that a publishable or secret key stands for.
func (v *Verifier) KeyRole(key string) (role string, ok bool) {
	switch key {
	case v.Publishable:
		return "anon", true
	case v.Secure:
		return "service_role", true
	}
	return "", false
}

// Verify returns the claims of a token and when it expires. Whitespace in the
// token counts for nothing, and there is no leeway. The error is a
// *TokenError.
func (v *Verifier) Verify(token string) (project.Claims, time.Time, error) {
	token = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, token)
	claims := jwt.MapClaims{}
	if _, err := v.parser.ParseWithClaims(token, claims, v.key); err != nil {
		return nil, time.Time{}, signatureFault(err)
	}
	return checkClaims(project.Claims(claims))
}

// signatureFault turns an error of the parser into ours.
func signatureFault(err error) *TokenError {
	var fault *TokenError
	switch {
	case errors.As(err, &fault):
		return fault
	case errors.Is(err, jwt.ErrTokenMalformed):
		return &TokenError{Fault: Malformed}
	case errors.Is(err, jwt.ErrTokenUnverifiable):
		return &TokenError{Fault: NoSigner}
	}
	return &TokenError{Fault: BadSignature}
}

// key finds the key that a token says it is signed with: the secret for HS*, a
// key of the right kind with the token's kid for the others.
func (v *Verifier) key(t *jwt.Token) (any, error) {
	alg := t.Method.Alg()
	if typ, _ := t.Header["typ"].(string); typ != "JWT" {
		return nil, &TokenError{Fault: NoSigner}
	}
	if strings.HasPrefix(alg, "HS") {
		return []byte(v.Secret), nil
	}
	kid, _ := t.Header["kid"].(string)
	for _, k := range v.Public {
		if k.ID == kid && kid != "" && signs(k, alg) {
			return k.Key, nil
		}
	}
	return nil, &TokenError{Fault: NoSigner, kid: kid}
}

// signs reports whether the key is of the kind that the algorithm needs.
func signs(k VerificationKey, alg string) (ok bool) {
	switch {
	case strings.HasPrefix(alg, "RS"):
		_, ok = k.Key.(*rsa.PublicKey)
	case strings.HasPrefix(alg, "ES"):
		_, ok = k.Key.(*ecdsa.PublicKey)
	case alg == "EdDSA":
		_, ok = k.Key.(ed25519.PublicKey)
	}
	return ok
}

// checkClaims wants a role and a time of expiry in the future. The server
// rounds to seconds.
func checkClaims(claims project.Claims) (project.Claims, time.Time, error) {
	exp, hasExp := claims["exp"]
	seconds, isNumber := exp.(float64)
	now := time.Now()
	_, hasRole := claims["role"]
	iat, hasIAT := claims["iat"]
	_, iatIsNumber := iat.(float64)
	switch {
	case isNumber && math.Round(seconds) <= float64(now.Unix()):
		return nil, time.Time{}, &TokenError{Fault: Expired, ago: now.Unix() - int64(math.Round(seconds))}
	case !hasRole, !hasExp:
		return nil, time.Time{}, &TokenError{Fault: NoFields}
	case !isNumber:
		return nil, time.Time{}, &TokenError{Fault: BadExpiry}
	case hasIAT && !iatIsNumber:
		return nil, time.Time{}, &TokenError{Fault: Malformed}
	}
	return claims, time.Unix(int64(min(math.Round(seconds), maxExpiry)), 0), nil
}

// maxExpiry is as good as never, and fits a time.
const maxExpiry = 1 << 40
