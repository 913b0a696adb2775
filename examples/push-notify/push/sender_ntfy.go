package push

import (
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// Ntfy is a Sender to topics of an ntfy server. The address of a device is the
// name of its topic, which whoever knows it can read.
type Ntfy struct {
	URL    string // such as https://ntfy.sh
	Token  string // of the server's access control; empty: none
	Client *http.Client
}

var topicName = regexp.MustCompile(`^[-_A-Za-z0-9]{1,64}$`)

// Send publishes to the topic. ntfy has no key by which a repetition would be
// known, so one that a crash has repeated is shown twice.
func (s *Ntfy) Send(ctx context.Context, d Device, n Notification) error {
	if time.Until(n.Expires) <= 0 {
		return fmt.Errorf("it is too late: %w", ErrRefused)
	}
	if !topicName.MatchString(d.Address) { // ntfy has no others, and a path has
		return fmt.Errorf("the name of an ntfy topic has other characters than letters, digits, - and _: %w", ErrRefused)
	}
	address := strings.TrimRight(s.URL, "/") + "/" + d.Address
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, address, strings.NewReader(n.Body))
	if err != nil {
		return fmt.Errorf("the address of an ntfy server cannot be used: %w", ErrRefused) // err would hold it
	}
	r.Header.Set("Title", mime.BEncoding.Encode("utf-8", n.Title)) // ntfy reads RFC 2047
	if s.Token != "" {
		r.Header.Set("Authorization", "Bearer "+s.Token)
	}
	answer, err := unredirected(s.Client).Do(r)
	if err != nil {
		return fmt.Errorf("ntfy did not answer: %w", withoutURL(err))
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<16))
	return judgeAnswer("ntfy", answer, n.Expires)
}
