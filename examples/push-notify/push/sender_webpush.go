package push

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/mail"
	"net/url"
	"strings"
	"time"

	"github.com/SherClockHolmes/webpush-go"
)

// WebPush is a Sender to browsers (RFC 8030, 8291 and 8292). The address of a
// device is its PushSubscription as JSON. The payload is the Notification as
// JSON, encrypted for the browser, whose service worker shows it under its key.
type WebPush struct {
	// PublicKey and PrivateKey are the VAPID keys, see webpush.GenerateVAPIDKeys.
	PublicKey, PrivateKey string
	Contact               string // a mail address of the operator, with mailto: or without, or an https URL
	// Services are the hosts that may be sent to, by https, such as PushServices: the
	// address of a device comes from whoever has subscribed it. Nil: any.
	Services []string
	Client   *http.Client // its redirects are not followed; see PublicClient
}

// VAPIDKeys generates a pair of keys for a WebPush. Subscriptions are made for
// the public one, and are of no use with another.
func VAPIDKeys() (private, public string, err error) { return webpush.GenerateVAPIDKeys() }

// Verify tells whether the keys are a pair, and an operator can be reached.
func (s *WebPush) Verify() error {
	public, err := fromBase64(s.PublicKey)
	if err != nil {
		return errors.New("the public VAPID key is not base64")
	}
	secret, err := fromBase64(s.PrivateKey)
	if err != nil {
		return errors.New("the private VAPID key is not base64")
	}
	private, err := ecdh.P256().NewPrivateKey(secret)
	if err != nil || !bytes.Equal(private.PublicKey().Bytes(), public) {
		return errors.New("the VAPID keys are no pair")
	}
	_, err = s.contact()
	return err
}

// contact returns the contact as a token has it, without the mailto: that the
// library adds.
func (s *WebPush) contact() (string, error) {
	if u, err := url.Parse(s.Contact); err == nil && u.Scheme == "https" && u.Host != "" {
		return s.Contact, nil
	}
	address := s.Contact
	if i := len("mailto:"); len(address) > i && strings.EqualFold(address[:i], "mailto:") {
		address = address[i:]
	}
	if mail, err := mail.ParseAddress(address); err != nil || mail.Address != address {
		return "", errors.New("the VAPID keys need a -contact: a mail address, with mailto: or without, or an https URL")
	}
	return address, nil
}

// ErrSubscription is that a text is not the PushSubscription of a browser.
var ErrSubscription = errors.New("this is no push subscription")

// ParseSubscription reads the JSON of a PushSubscription. Its error is
// ErrSubscription unless there is the URL of a push service, a public key on the
// curve P-256 and a secret of 16 bytes.
func ParseSubscription(text []byte) (webpush.Subscription, error) {
	var s webpush.Subscription
	if err := json.Unmarshal(text, &s); err != nil {
		return s, ErrSubscription // err would hold some of it
	}
	endpoint, err := url.Parse(s.Endpoint)
	if err != nil || endpoint.Host == "" || endpoint.User != nil || endpoint.Scheme != "https" && endpoint.Scheme != "http" {
		return s, ErrSubscription
	}
	public, err := fromBase64(s.Keys.P256dh)
	if err != nil {
		return s, ErrSubscription
	}
	if _, err := ecdh.P256().NewPublicKey(public); err != nil {
		return s, ErrSubscription
	}
	if auth, err := fromBase64(s.Keys.Auth); err != nil || len(auth) != 16 {
		return s, ErrSubscription
	}
	return s, nil
}

func fromBase64(text string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
}

// Send blocks until the push service has taken the notification. It keeps it for
// the browser until the notification expires, and drops an earlier one of the
// same key.
func (s *WebPush) Send(ctx context.Context, d Device, n Notification) error {
	to, err := ParseSubscription([]byte(d.Address))
	if err != nil {
		return fmt.Errorf("web push: %w: %w", ErrRefused, err)
	}
	if at, err := url.Parse(to.Endpoint); err != nil || s.Services != nil && !isService(at, s.Services) {
		return fmt.Errorf("web push: the device's address is of no push service that is allowed: %w", ErrRefused)
	}
	contact, err := s.contact()
	if err != nil {
		return fmt.Errorf("web push: %w", err) // the operator may put it right
	}
	left := time.Until(n.Expires)
	if left <= 0 {
		return fmt.Errorf("web push: it is too late: %w", ErrRefused)
	}
	payload, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("web push: %w: %w", ErrRefused, err)
	}
	answer, err := webpush.SendNotificationWithContext(ctx, payload, &to, &webpush.Options{
		HTTPClient: unredirected(s.Client), Subscriber: contact, VAPIDPublicKey: s.PublicKey, VAPIDPrivateKey: s.PrivateKey,
		TTL: int(left / time.Second), Topic: topic(n.Key), Urgency: webpush.UrgencyNormal,
	})
	if errors.Is(err, webpush.ErrMaxPadExceeded) {
		return fmt.Errorf("web push: %w: %w", ErrRefused, err)
	}
	if err != nil {
		return fmt.Errorf("web push: not sent: %w", withoutURL(err))
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<16))
	return judgeAnswer("web push", answer, n.Expires)
}

// topic makes one of a key: a push service refuses a topic that has more than 32
// characters, or others than base64url's (RFC 8030, section 5.4).
func topic(key string) string {
	digest := sha256.Sum256([]byte(key))
	return base64.RawURLEncoding.EncodeToString(digest[:24])
}
