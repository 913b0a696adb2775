// Package fcm sends push-notify's notifications by Firebase Cloud Messaging. It
// is a module of its own, as Firebase's SDK brings hundreds of others along.
package fcm

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	firebase "firebase.google.com/go/v4"
	"firebase.google.com/go/v4/messaging"
	"google.golang.org/api/option"
	htransport "google.golang.org/api/transport/http"

	"github.com/gapless-go/gapless/enrich/deliver"
	"github.com/gapless-go/gapless/examples/internal/again"
	"github.com/gapless-go/gapless/examples/push-notify/push"
)

// Sender is a push.Sender to devices whose address is an FCM registration token.
type Sender struct{ client *messaging.Client }

var _ push.Sender = (*Sender)(nil)

const scope = "https://www.googleapis.com/auth/firebase.messaging"

// New makes a Sender for a Firebase project; an empty one is that of the
// credentials. Without options the credentials are Google's default ones: the
// file that GOOGLE_APPLICATION_CREDENTIALS names, or the machine's. It asks
// nothing of FCM.
func New(ctx context.Context, project string, opts ...option.ClientOption) (*Sender, error) {
	opts = append([]option.ClientOption{option.WithScopes(scope)}, opts...)
	client, _, err := htransport.NewClient(ctx, opts...)
	if err != nil {
		return nil, fmt.Errorf("fcm: %w", err)
	}
	watched := *client
	watched.Transport = noting{cmp.Or(client.Transport, http.DefaultTransport)}
	app, err := firebase.NewApp(ctx, &firebase.Config{ProjectID: project}, append(opts, option.WithHTTPClient(&watched))...)
	if err != nil {
		return nil, fmt.Errorf("fcm: %w", err)
	}
	m, err := app.Messaging(ctx)
	if err != nil {
		return nil, fmt.Errorf("fcm: %w", err)
	}
	return &Sender{m}, nil
}

// Send blocks until FCM has taken the notification. The SDK tries again while FCM
// is away; what is left after that has the time that FCM asked for, see
// deliver.Later.
func (s *Sender) Send(ctx context.Context, d push.Device, n push.Notification) error {
	left := time.Until(n.Expires)
	switch {
	case d.Address == "":
		return fmt.Errorf("fcm: the address is no token: %w", push.ErrRefused)
	case left <= 0:
		return fmt.Errorf("fcm: it is too late: %w", push.ErrRefused)
	}
	last := new(note)
	if _, err := s.client.Send(context.WithValue(ctx, noteKey{}, last), message(d, n, left)); err != nil {
		return last.judge(ctx, err, n.Expires)
	}
	return nil
}

const maxTTL = 28 * 24 * time.Hour // FCM refuses more

// message is what FCM is given. A repetition takes the place of the notification
// that is shown under the same tag. There is no collapse key: FCM keeps messages
// of no more than four of them for a device that is off.
func message(d push.Device, n push.Notification, left time.Duration) *messaging.Message {
	ttl := min(left, maxTTL)
	return &messaging.Message{
		Token:        d.Address,
		Notification: &messaging.Notification{Title: n.Title, Body: n.Body},
		Data:         map[string]string{"key": n.Key, "at": n.At.UTC().Format(time.RFC3339Nano), "expires": n.Expires.UTC().Format(time.RFC3339Nano)},
		Android:      &messaging.AndroidConfig{Priority: "high", TTL: &ttl, Notification: &messaging.AndroidNotification{Tag: n.Key}},
		APNS: &messaging.APNSConfig{Headers: map[string]string{
			"apns-priority": "10", "apns-expiration": strconv.FormatInt(n.Expires.Unix(), 10), "apns-collapse-id": n.Key,
		}},
		Webpush: &messaging.WebpushConfig{
			Headers:      map[string]string{"TTL": strconv.Itoa(int(ttl / time.Second)), "Urgency": "high"},
			Notification: &messaging.WebpushNotification{Tag: n.Key},
		},
	}
}

// note is what came of the last request of a Send. The SDK's errors do not always
// have it, and are words of FCM and URLs, in which a token may be.
type note struct {
	asked  bool
	status int       // 0: there was no answer
	until  time.Time // by Retry-After
	err    error
}

type noteKey struct{}

// noting is a transport that fills in notes.
type noting struct{ to http.RoundTripper }

func (t noting) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := t.to.RoundTrip(r)
	if n, ok := r.Context().Value(noteKey{}).(*note); ok {
		*n = note{asked: true, err: err}
		if err == nil {
			n.status, n.until = answer.StatusCode, time.Now().Add(again.After(answer.Header))
		}
	}
	return answer, err
}

// judge makes the error of a Send, which has nothing of err's own words.
func (n *note) judge(ctx context.Context, err error, expires time.Time) error {
	answer := read(err)
	said := answer.code()
	switch {
	case !n.asked && ctx.Err() == nil:
		return fmt.Errorf("fcm: the SDK does not take the message: %w", push.ErrRefused)
	case said == "UNREGISTERED", said == "INVALID_ARGUMENT" && answer.ofToken():
		return fmt.Errorf("fcm: %s: %w", said, push.ErrGone)
	case refused(said, n.status):
		return fmt.Errorf("fcm: %s: %w: %w", said, push.ErrRefused, &push.StatusError{Status: n.status})
	}
	result := fmt.Errorf("fcm: no answer: %w", cause(ctx, n.err))
	if n.status != 0 {
		result = fmt.Errorf("fcm: %s: %w", said, &push.StatusError{Status: n.status})
	}
	if n.until.After(expires) {
		n.until = expires // when it is given up
	}
	return deliver.Later(result, time.Until(n.until))
}

// refused tells what no other try brings. What an operator may put right is not
// among that: the credentials, the project, the certificate for Apple.
func refused(said string, status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusRequestTimeout, http.StatusTooManyRequests:
		// A token of another project's, which credentials of the wrong project
		// make of every token: nobody is to lose all devices by that.
		return said == "SENDER_ID_MISMATCH"
	}
	return status >= 400 && status < 500
}
