// Package relay is a Web Push service in this process, for pages and tests on
// machines that reach no vendor's.
//
//	application server ──POST /relay/push/TOKEN──▶ Service ──GET /relay/receive/SECRET──▶ page
//
// To the server that sends, it is what a vendor's service is: it takes what RFC
// 8030, 8188, 8291 and 8292 say, and answers what is wrong with a status that
// real ones have. It is also the part of a browser that holds the keys: it makes
// them, and decrypts. A message that cannot be decrypted is thus refused with
// 400, where a real service would take it and the browser drop it in silence.
//
// A page subscribes by POST /relay/subscriptions, with the server's public key
// as {"applicationServerKey": "…"}; the answer is a PushSubscription with one
// member more, receive, which is a secret as the endpoint is. A GET of that is a
// stream of server-sent events, {"id": 1, "data": "…"} each; DELETE of receive/id
// says that the message was shown, and of receive that there is to be no more.
// What was not shown is given to the next stream, until it expires.
package relay

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	maxBody          = 4096 // bytes of a message, RFC 8030, section 7.2
	maxTTL           = 28 * 24 * time.Hour
	maxWaiting       = 100 // messages of a subscription
	maxSubscriptions = 100
	maxGone          = 1000 // subscriptions of which it is known that they were
	busyFor          = 30 * time.Second
)

// Service is the push service. New makes one. It is safe for concurrent use.
type Service struct {
	origin string

	mu     sync.Mutex
	live   []*subscription // the oldest first
	gone   []string        // tokens, the oldest first
	counts Counts
}

// Counts is what became of messages.
type Counts struct {
	Subscriptions int    `json:"subscriptions"`
	Accepted      uint64 `json:"accepted"` // signed and encrypted as they have to be
	Refused       uint64 `json:"refused"`
	Shown         uint64 `json:"shown"` // as the page says
	Waiting       int    `json:"waiting"`
}

// subscription is one browser's, under its Service's lock.
type subscription struct {
	token, secret string
	server        []byte // the only public key that may send
	private       *ecdh.PrivateKey
	auth          []byte
	waiting       []message // the oldest first
	last          uint64    // id
	streams       int
	changed       chan struct{} // closed when there is something new
	ended         bool
}

type message struct {
	id      uint64
	topic   string // empty: it takes nobody's place
	data    []byte
	expires time.Time
}

// New makes a Service for an origin, such as http://127.0.0.1:8898, which is the
// audience that the senders' tokens are to name.
func New(origin string) *Service { return &Service{origin: origin} }

// Handler serves everything under /relay/. Its streams end when ctx does.
func (s *Service) Handler(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /relay/push/{token}", s.push)
	mux.HandleFunc("POST /relay/subscriptions", s.subscribe)
	mux.HandleFunc("GET /relay/receive/{secret}", func(w http.ResponseWriter, r *http.Request) { s.receive(ctx, w, r) })
	mux.HandleFunc("DELETE /relay/receive/{secret}", s.unsubscribe)
	mux.HandleFunc("DELETE /relay/receive/{secret}/{id}", s.acknowledge)
	return mux
}

// Counts returns the present ones.
func (s *Service) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.counts
	now.Subscriptions = len(s.live)
	for _, sub := range s.live {
		sub.prune()
		now.Waiting += len(sub.waiting)
	}
	return now
}

// add makes a subscription. One too many has the oldest dropped that no page
// listens to, or else the oldest: who sends to it is told 410.
func (s *Service) add(server []byte) (*subscription, error) {
	private, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	sub := &subscription{
		token: rand.Text(), secret: rand.Text(), server: server, private: private, auth: make([]byte, 16), changed: make(chan struct{}),
	}
	_, _ = rand.Read(sub.auth) // never an error
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.live) == maxSubscriptions {
		idle := slices.IndexFunc(s.live, func(sub *subscription) bool { return sub.streams == 0 })
		s.drop(s.live[max(idle, 0)])
	}
	s.live = append(s.live, sub)
	return sub, nil
}

// drop ends a subscription, under the lock.
func (s *Service) drop(sub *subscription) {
	s.live = slices.DeleteFunc(s.live, func(other *subscription) bool { return other == sub })
	if s.gone = append(s.gone, sub.token); len(s.gone) > maxGone {
		s.gone = slices.Delete(s.gone, 0, 1)
	}
	sub.ended = true
	sub.tell()
}

// find returns the subscription that is so, or nil, under the lock.
func (s *Service) find(so func(*subscription) bool) *subscription {
	if i := slices.IndexFunc(s.live, so); i >= 0 {
		return s.live[i]
	}
	return nil
}

// tell wakes the streams.
func (sub *subscription) tell() {
	close(sub.changed)
	sub.changed = make(chan struct{})
}

// prune drops what has expired.
func (sub *subscription) prune() {
	now := time.Now()
	sub.waiting = slices.DeleteFunc(sub.waiting, func(m message) bool { return !m.expires.After(now) })
}

// put adds a message, in the place of one of its topic. It reports whether there
// was room.
func (sub *subscription) put(m message, ttl time.Duration) bool {
	sub.prune()
	if m.topic != "" {
		sub.waiting = slices.DeleteFunc(sub.waiting, func(old message) bool { return old.topic == m.topic })
	}
	if len(sub.waiting) >= maxWaiting {
		return false
	}
	if ttl == 0 { // now or never, and to show it takes a moment
		if sub.streams == 0 {
			return true
		}
		ttl = time.Second
	}
	sub.last++
	m.id, m.expires = sub.last, time.Now().Add(ttl)
	sub.waiting = append(sub.waiting, m)
	sub.tell()
	return true
}

// push takes a message from an application server.
func (s *Service) push(w http.ResponseWriter, r *http.Request) {
	status, why := s.take(w, r)
	s.mu.Lock()
	if status == http.StatusCreated {
		s.counts.Accepted++
	} else {
		s.counts.Refused++
	}
	s.mu.Unlock()
	switch status {
	case http.StatusCreated:
		w.WriteHeader(status)
		return
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "vapid")
	case http.StatusTooManyRequests:
		w.Header().Set("Retry-After", strconv.Itoa(int(busyFor/time.Second)))
	}
	http.Error(w, why, status)
}

// take returns the status of the answer, and why if it is not 201.
func (s *Service) take(w http.ResponseWriter, r *http.Request) (status int, why string) {
	token := r.PathValue("token")
	s.mu.Lock()
	sub := s.find(func(sub *subscription) bool { return sub.token == token })
	was := slices.Contains(s.gone, token)
	s.mu.Unlock()
	switch {
	case was:
		return http.StatusGone, "the subscription has ended"
	case sub == nil:
		return http.StatusNotFound, "there is no such subscription"
	}
	if status, err := verify(r.Header.Get("Authorization"), s.origin, sub.server); err != nil {
		return status, err.Error()
	}
	h, err := readHeaders(r.Header)
	if err != nil {
		return http.StatusBadRequest, err.Error()
	}
	body, status, err := readBody(w, r)
	if err != nil {
		return status, err.Error()
	}
	data, err := decrypt(body, sub.private, sub.auth)
	if err != nil {
		return http.StatusBadRequest, err.Error()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if sub.ended {
		return http.StatusGone, "the subscription has ended"
	}
	if !sub.put(message{topic: h.topic, data: data}, h.ttl) {
		return http.StatusTooManyRequests, "too many messages wait"
	}
	w.Header().Set("TTL", strconv.Itoa(int(h.ttl/time.Second)))
	w.Header().Set("Location", s.origin+"/relay/messages/"+rand.Text()) // RFC 8030 wants one; receipts are not asked for
	return http.StatusCreated, ""
}
