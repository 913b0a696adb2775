package auth

import (
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// FarAway is when the project's keys expire.
var FarAway = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

// What keys begin with that are no JWTs.
const (
	PublishablePrefix = "sb_publishable_"
	SecretPrefix      = "sb_secret_"
)

// derivedKey returns a key that begins with the prefix and is the same for every
// project of one JWT secret.
func derivedKey(secret, prefix string) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(prefix))
	sum := h.Sum(nil)
	return prefix + base64.RawURLEncoding.EncodeToString(sum[:16]) + "_" + base64.RawURLEncoding.EncodeToString(sum[16:22])
}

// Sign returns an HS256 token with these claims. It panics if they have no JSON.
func Sign(secret string, claims project.Claims) string {
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims(claims)).SignedString([]byte(secret))
	if err != nil {
		panic("mockserver: sign: " + err.Error())
	}
	return token
}

// DefaultSecret signs and verifies tokens when Config.JWTSecret is empty. It
// is the secret of Supabase's local stack and is no secret.
const DefaultSecret = "super-secret-jwt-token-with-at-least-32-characters-long"

// VerificationKey is a public key for tokens signed by RS256, ES256 or EdDSA
// (RS384, ES512, … too). A token names it by its header kid.
type VerificationKey struct {
	ID  string           // the kid
	Key crypto.PublicKey // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}
