package push

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/SherClockHolmes/webpush-go"
)

// WebPush is a Sender to browsers (RFC 8030, 8291 and 8292). The address of a
// device is its PushSubscription as JSON. The payload is the Notification as
// JSON, encrypted for the browser, whose service worker shows it under its key.
type WebPush struct {
	// PublicKey and PrivateKey are the VAPID keys, see webpush.GenerateVAPIDKeys.
	PublicKey, PrivateKey string
	Contact               string // a mail address of the operator
	Client                *http.Client
}

// Send blocks until the push service has taken the notification. It keeps it for
// the browser until the notification expires, and drops an earlier one of the
// same key.
func (s *WebPush) Send(ctx context.Context, d Device, n Notification) error {
	var to webpush.Subscription
	if err := json.Unmarshal([]byte(d.Address), &to); err != nil || to.Endpoint == "" {
		return fmt.Errorf("web push: the address is no subscription: %w", ErrRefused)
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
		HTTPClient: s.Client, Subscriber: s.Contact, VAPIDPublicKey: s.PublicKey, VAPIDPrivateKey: s.PrivateKey,
		TTL: int(left / time.Second), Topic: n.Key, Urgency: webpush.UrgencyNormal,
	})
	if err != nil {
		return fmt.Errorf("web push: not sent: %w", withoutURL(err))
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<16))
	return judgeStatus("web push", answer.StatusCode)
}
