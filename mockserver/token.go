package mockserver

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
)

// tokenFault is what is wrong with a token. Each part of the server has its own
// words for it.
type tokenFault uint8

const (
	tokenMalformed tokenFault = iota + 1
	tokenSigner               // no key for its algorithm and kid
	tokenSignature
	tokenExpired
	tokenFields // role or exp is missing
	tokenExpiry // exp is no number
)

// tokenError says why a token was refused. It holds nothing of the token but
// its kid.
type tokenError struct {
	fault tokenFault
	ago   int64  // how long it has been expired, in seconds
	kid   string // of tokenSigner; may be empty
}

// Error returns what the server says of a token in the middle of a channel's
// life, but for signatures, of which see systemText.
func (e *tokenError) Error() string {
	switch e.fault {
	case tokenMalformed:
		return "The token provided is not a valid JWT"
	case tokenSigner:
		key := ""
		if e.kid != "" {
			key = fmt.Sprintf(" for key ID (kid) %q", e.kid)
		}
		return "Failed to generate JWT signer" + key + ", check your JWT secret or JWKS configuration"
	case tokenSignature:
		return "Failed to validate JWT signature"
	case tokenExpired:
		return fmt.Sprintf("Token has expired %d seconds ago", e.ago)
	case tokenFields:
		return "Fields `role` and `exp` are required in JWT"
	default:
		return "Token expiration time is invalid"
	}
}

// upgradeText is the words for it at the upgrade.
func (e *tokenError) upgradeText() string {
	if e.fault == tokenExpired {
		return "Token has expired"
	}
	return e.Error()
}

// joinReason is the reason of a refused join.
func (e *tokenError) joinReason() string {
	code := "InvalidJWTToken"
	switch e.fault {
	case tokenMalformed:
		code = "MalformedJWT"
	case tokenSigner:
		code = "JwtSignerError"
	case tokenSignature:
		code = "JwtSignatureError"
	}
	return code + ": " + e.Error()
}

// systemText is the system message before the server closes a channel.
func (e *tokenError) systemText() string {
	if e.fault == tokenSignature {
		return ":signature_error" // the server has no words for this one, and shows its atom
	}
	return e.Error()
}

// verifier checks tokens as Realtime does. It is safe for concurrent use.
type verifier struct {
	secret []byte
	keys   []VerificationKey
	parser *jwt.Parser

	publishable, secretKey string // the keys that are no tokens
}

func newVerifier(cfg Config) *verifier {
	return &verifier{
		secret: []byte(cfg.JWTSecret), keys: cfg.Keys, parser: jwt.NewParser(jwt.WithoutClaimsValidation()),
		publishable: cmp.Or(cfg.PublishableKey, derivedKey(cfg.JWTSecret, publishablePrefix)),
		secretKey:   cmp.Or(cfg.SecretKey, derivedKey(cfg.JWTSecret, secretPrefix)),
	}
}

// keyRole returns the role that a publishable or secret key stands for.
func (v *verifier) keyRole(key string) (role string, ok bool) {
	switch key {
	case v.publishable:
		return "anon", true
	case v.secretKey:
		return "service_role", true
	}
	return "", false
}

// verify returns the claims of a token and when it expires. Whitespace in the
// token counts for nothing, and there is no leeway. The error is a
// *tokenError.
func (v *verifier) verify(token string) (Claims, time.Time, error) {
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
	return checkClaims(Claims(claims))
}

// signatureFault turns an error of the parser into ours.
func signatureFault(err error) *tokenError {
	var fault *tokenError
	switch {
	case errors.As(err, &fault):
		return fault
	case errors.Is(err, jwt.ErrTokenMalformed):
		return &tokenError{fault: tokenMalformed}
	case errors.Is(err, jwt.ErrTokenUnverifiable):
		return &tokenError{fault: tokenSigner}
	}
	return &tokenError{fault: tokenSignature}
}

// key finds the key that a token says it is signed with: the secret for HS*, a
// key of the right kind with the token's kid for the others.
func (v *verifier) key(t *jwt.Token) (any, error) {
	alg := t.Method.Alg()
	if typ, _ := t.Header["typ"].(string); typ != "JWT" {
		return nil, &tokenError{fault: tokenSigner}
	}
	if strings.HasPrefix(alg, "HS") {
		return v.secret, nil
	}
	kid, _ := t.Header["kid"].(string)
	for _, k := range v.keys {
		if k.ID == kid && kid != "" && signs(k, alg) {
			return k.Key, nil
		}
	}
	return nil, &tokenError{fault: tokenSigner, kid: kid}
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
func checkClaims(claims Claims) (Claims, time.Time, error) {
	exp, hasExp := claims["exp"]
	seconds, isNumber := exp.(float64)
	now := time.Now()
	_, hasRole := claims["role"]
	iat, hasIAT := claims["iat"]
	_, iatIsNumber := iat.(float64)
	switch {
	case isNumber && math.Round(seconds) <= float64(now.Unix()):
		return nil, time.Time{}, &tokenError{fault: tokenExpired, ago: now.Unix() - int64(math.Round(seconds))}
	case !hasRole, !hasExp:
		return nil, time.Time{}, &tokenError{fault: tokenFields}
	case !isNumber:
		return nil, time.Time{}, &tokenError{fault: tokenExpiry}
	case hasIAT && !iatIsNumber:
		return nil, time.Time{}, &tokenError{fault: tokenMalformed}
	}
	return claims, time.Unix(int64(min(math.Round(seconds), maxExpiry)), 0), nil
}

// maxExpiry is as good as never, and fits a time.
const maxExpiry = 1 << 40
