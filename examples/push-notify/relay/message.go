package relay

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// headers are those of a message that matter here.
type headers struct {
	ttl   time.Duration
	topic string
}

var topics = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// readHeaders reads what RFC 8030, section 5, says, and the encoding of RFC 8291.
func readHeaders(h http.Header) (read headers, err error) {
	ttl, err := strconv.ParseUint(h.Get("TTL"), 10, 31)
	if err != nil {
		return read, errors.New("TTL must be a number of seconds")
	}
	read.ttl = min(time.Duration(ttl)*time.Second, maxTTL)
	if _, ok := h["Topic"]; ok {
		if read.topic = h.Get("Topic"); !topics.MatchString(read.topic) {
			return read, errors.New("a Topic has 1 to 32 characters of base64url")
		}
	}
	if u := h.Get("Urgency"); u != "" && !slices.Contains([]string{"very-low", "low", "normal", "high"}, u) {
		return read, errors.New("there is no such Urgency")
	}
	if h.Get("Content-Encoding") != "aes128gcm" {
		return read, errors.New("Content-Encoding must be aes128gcm")
	}
	return read, nil
}

// readBody returns the body, or the status of an answer and why.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, int, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("a message has at most %d bytes", maxBody)
	case err != nil:
		return nil, http.StatusBadRequest, errors.New("the body did not come")
	}
	return body, 0, nil
}

const (
	saltLen   = 16
	publicLen = 65
	headLen   = saltLen + 4 + 1 + publicLen
	tagLen    = 16
)

// decrypt opens the one record of a body, as RFC 8188 and 8291 say.
func decrypt(body []byte, private *ecdh.PrivateKey, auth []byte) ([]byte, error) {
	if len(body) < headLen+tagLen+1 || body[saltLen+4] != publicLen {
		return nil, errors.New("the body is not as RFC 8291 has it")
	}
	salt, size, sealed := body[:saltLen], binary.BigEndian.Uint32(body[saltLen:]), body[headLen:]
	if uint64(len(sealed)) > uint64(size) {
		return nil, errors.New("there is more than one record")
	}
	sender, err := ecdh.P256().NewPublicKey(body[saltLen+5 : headLen])
	if err != nil {
		return nil, errors.New("the sender's key is not on the curve")
	}
	gcm, nonce, err := derive(private, sender, auth, salt)
	if err != nil {
		return nil, err
	}
	plain, err := gcm.Open(nil, nonce, sealed, nil)
	if err != nil {
		return nil, errors.New("the message cannot be decrypted")
	}
	plain = bytes.TrimRight(plain, "\x00") // padding, behind the mark of the last record
	if len(plain) == 0 || plain[len(plain)-1] != 2 {
		return nil, errors.New("the padding is not as RFC 8188 has it")
	}
	return plain[:len(plain)-1], nil
}

// derive makes the key and the nonce of a message.
func derive(private *ecdh.PrivateKey, sender *ecdh.PublicKey, auth, salt []byte) (cipher.AEAD, []byte, error) {
	shared, err := private.ECDH(sender)
	if err != nil {
		return nil, nil, err
	}
	info := "WebPush: info\x00" + string(private.PublicKey().Bytes()) + string(sender.Bytes())
	secret, err := hkdf.Key(sha256.New, shared, auth, info, 32)
	if err != nil {
		return nil, nil, err
	}
	key, err := hkdf.Key(sha256.New, secret, salt, "Content-Encoding: aes128gcm\x00", 16)
	if err != nil {
		return nil, nil, err
	}
	nonce, err := hkdf.Key(sha256.New, secret, salt, "Content-Encoding: nonce\x00", 12)
	if err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, nil, err
	}
	gcm, err := cipher.NewGCM(block)
	return gcm, nonce, err
}

// maxLife is how long a sender's token may be valid, RFC 8292, section 2.
const maxLife = 24 * time.Hour

// verify looks at the header Authorization as RFC 8292 says. Without an error
// the message is of the server that the subscription is for; else status is that
// of the answer.
func verify(header, origin string, server []byte) (status int, err error) {
	scheme, rest, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "vapid") {
		return http.StatusUnauthorized, errors.New("the scheme of Authorization must be vapid")
	}
	params := map[string]string{}
	for param := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		params[name] = value
	}
	if public, err := base64.RawURLEncoding.DecodeString(params["k"]); err != nil || !bytes.Equal(public, server) {
		return http.StatusForbidden, errors.New("k is not the key that the subscription is for")
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), server)
	if err != nil {
		return http.StatusForbidden, err
	}
	var claims jwt.RegisteredClaims
	_, err = jwt.ParseWithClaims(params["t"], &claims, func(*jwt.Token) (any, error) { return key, nil },
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithAudience(origin), jwt.WithExpirationRequired())
	switch {
	case err != nil:
		return http.StatusForbidden, fmt.Errorf("the token: %w", err)
	case time.Until(claims.ExpiresAt.Time) > maxLife:
		return http.StatusForbidden, errors.New("the token is valid for more than a day")
	case !strings.HasPrefix(claims.Subject, "mailto:") && !strings.HasPrefix(claims.Subject, "https:"):
		return http.StatusForbidden, errors.New("sub must be a mailto: or https: URL")
	}
	return 0, nil
}
