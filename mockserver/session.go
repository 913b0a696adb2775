package mockserver

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"sync"

	"github.com/google/uuid"
)

// maxSessions bounds what is remembered: the oldest session ends when there
// are more.
const maxSessions = 10_000

// sessionStore holds the sessions that were opened by signing in. It is safe
// for concurrent use.
//
// A refresh token says which session it is of and which number it has in it,
// so that a used one is known as such without a list of them.
type sessionStore struct {
	key []byte // signs refresh tokens

	mu       sync.Mutex
	sessions []*session // in the order of opening
	opened   uint64
}

type session struct {
	id      string
	number  uint64 // of the session
	user    *account
	refresh uint64 // the number of the refresh token that is good
}

// sessionGrant is what a client gets of a session.
type sessionGrant struct {
	session      string // claim session_id
	refreshToken string
}

var (
	errTokenUsed    = errors.New("refresh token already used")
	errTokenUnknown = errors.New("refresh token not found")
)

func newSessionStore() *sessionStore {
	s := &sessionStore{key: make([]byte, 32)}
	_, _ = rand.Read(s.key) // never fails
	return s
}

// open begins a session.
func (s *sessionStore) open(u *account) sessionGrant {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened++
	opened := &session{id: uuid.NewString(), number: s.opened, user: u}
	s.sessions = append(s.sessions, opened)
	if len(s.sessions) > maxSessions {
		s.sessions = slices.Delete(s.sessions, 0, 1)
	}
	return sessionGrant{opened.id, s.sign(opened.number, 0)}
}

// rotate takes a refresh token back and gives the next one.
func (s *sessionStore) rotate(token string) (*account, sessionGrant, error) {
	number, refresh, ok := s.check(token)
	if !ok {
		return nil, sessionGrant{}, errTokenUnknown
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.sessions, func(o *session) bool { return o.number == number })
	if i < 0 {
		return nil, sessionGrant{}, errTokenUnknown
	}
	found := s.sessions[i]
	if found.refresh != refresh {
		return nil, sessionGrant{}, errTokenUsed
	}
	found.refresh++
	return found.user, sessionGrant{found.id, s.sign(number, found.refresh)}, nil
}

// has reports whether the session is open.
func (s *sessionStore) has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.sessions, func(o *session) bool { return o.id == id })
}

// end ends the sessions for which f is true.
func (s *sessionStore) end(f func(id string, owner *account) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions = slices.DeleteFunc(s.sessions, func(o *session) bool { return f(o.id, o.user) })
}

// sign makes a refresh token.
func (s *sessionStore) sign(number, refresh uint64) string {
	b := binary.BigEndian.AppendUint64(nil, number)
	b = binary.BigEndian.AppendUint64(b, refresh)
	return base64.RawURLEncoding.EncodeToString(append(b, s.mac(b)...))
}

// check takes a refresh token apart.
func (s *sessionStore) check(token string) (number, refresh uint64, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) != 16+sha256.Size || !hmac.Equal(b[16:], s.mac(b[:16])) {
		return 0, 0, false
	}
	return binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), true
}

func (s *sessionStore) mac(b []byte) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write(b)
	return h.Sum(nil)
}
