package relay

import (
	"context"
	"crypto/ecdh"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gapless-go/gapless/examples/internal/site"
)

const maxAsked = 1024 // bytes

// subscribe makes a subscription for a page.
func (s *Service) subscribe(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		ApplicationServerKey string `json:"applicationServerKey"`
	}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAsked)).Decode(&asked)
	server, wrong := base64.RawURLEncoding.DecodeString(strings.TrimRight(asked.ApplicationServerKey, "="))
	if err == nil && wrong == nil {
		_, err = ecdh.P256().NewPublicKey(server)
	}
	if err != nil || wrong != nil {
		http.Error(w, "applicationServerKey must be a point on P-256", http.StatusBadRequest)
		return
	}
	sub, err := s.add(server)
	if err != nil {
		http.Error(w, "there are no keys to be had", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{ // an error: the page is gone
		"endpoint": s.origin + "/relay/push/" + sub.token, "expirationTime": nil,
		"keys": map[string]string{
			"p256dh": base64.RawURLEncoding.EncodeToString(sub.private.PublicKey().Bytes()),
			"auth":   base64.RawURLEncoding.EncodeToString(sub.auth),
		},
		"receive": "/relay/receive/" + sub.secret,
	})
}

// of returns the subscription of a receiving page, under the lock; nil if there
// is none, which is then answered.
func (s *Service) of(w http.ResponseWriter, r *http.Request) *subscription {
	secret := r.PathValue("secret")
	sub := s.find(func(sub *subscription) bool { return sub.secret == secret })
	if sub == nil {
		http.Error(w, "there is no such subscription", http.StatusNotFound)
	}
	return sub
}

func (s *Service) unsubscribe(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sub := s.of(w, r); sub != nil {
		s.drop(sub)
		w.WriteHeader(http.StatusNoContent)
	}
}

// acknowledge notes that a message was shown. Several pages may say so of one.
func (s *Service) acknowledge(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil {
		http.Error(w, "a message has a number", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.of(w, r)
	if sub == nil {
		return
	}
	before := len(sub.waiting)
	sub.waiting = slices.DeleteFunc(sub.waiting, func(m message) bool { return m.id == id })
	s.counts.Shown += uint64(before - len(sub.waiting))
	w.WriteHeader(http.StatusNoContent)
}

// receive streams messages until either side, the subscription or ctx ends.
func (s *Service) receive(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	sub := s.of(w, r)
	if sub == nil {
		s.mu.Unlock()
		return
	}
	sub.streams++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		sub.streams--
		s.mu.Unlock()
	}()
	w.Header().Set("Cache-Control", "no-store")
	given := uint64(0)
	for {
		s.mu.Lock()
		sub.prune()
		waiting, changed, ended := slices.Clone(sub.waiting), sub.changed, sub.ended
		s.mu.Unlock()
		if ended {
			return
		}
		var err error
		if given, err = give(w, waiting, given); err != nil {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

// give writes what is behind a message, and returns the last one's number. What
// is written at once, messages or not, opens the stream for the page.
func give(w http.ResponseWriter, waiting []message, given uint64) (uint64, error) {
	var fresh [][]byte
	for _, m := range waiting {
		if m.id <= given {
			continue
		}
		text, err := json.Marshal(map[string]any{"id": m.id, "data": string(m.data)})
		if err != nil {
			return given, err
		}
		fresh, given = append(fresh, text), m.id
	}
	return given, site.Tell(w, fresh...)
}
