package memdb

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// maxSessions bounds what is remembered: the oldest session ends when there
// are more.
const maxSessions = 10_000

// reuseInterval is for how long after its use a refresh token that is not the one
// before the good one may be used again.
const reuseInterval = 10 * time.Second

// users are the accounts and their sessions. They implement project.Users.
//
// A refresh token says which session it is of and which number it has in it,
// so that a used one is known as such without a list of them.
type users struct {
	key []byte // signs refresh tokens

	mu       sync.Mutex
	all      []*user
	sessions []*session // in the order of opening
	opened   uint64
}

// user is an account. It is never changed in place.
type user struct {
	project.User
	password [sha256.Size]byte // a hash, so that comparing takes the same time for any length
}

type session struct {
	id      string
	number  uint64 // of the session
	user    *user
	refresh uint64      // the number of the refresh token that is good
	used    []time.Time // when the last refresh tokens before it were used, within reuseInterval
}

func newUsers() *users {
	s := &users{key: make([]byte, 32)}
	_, _ = rand.Read(s.key) // never fails
	return s
}

// CreateUser implements project.Users.
func (s *users) CreateUser(_ context.Context, u project.User, password string) error {
	if !isRole(u.Role) {
		return fmt.Errorf("role %q does not exist", u.Role)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.all, func(o *user) bool {
		return o.ID == u.ID || u.Email != "" && o.Email == u.Email || u.Phone != "" && o.Phone == u.Phone
	}) {
		return project.ErrTaken
	}
	s.all = append(s.all, &user{u, sha256.Sum256([]byte(password))})
	return nil
}

// User implements project.Users.
func (s *users) User(_ context.Context, id string) (*project.User, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.all {
		if u.ID == id {
			return &u.User, nil
		}
	}
	return nil, nil
}

// DeleteUser implements project.Users.
func (s *users) DeleteUser(_ context.Context, id string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.all, func(u *user) bool { return u.ID == id })
	if i < 0 {
		return false, nil
	}
	s.all = slices.Delete(s.all, i, i+1)
	s.sessions = slices.DeleteFunc(s.sessions, func(o *session) bool { return o.user.ID == id })
	return true, nil
}

// SignIn implements project.Users.
func (s *users) SignIn(_ context.Context, email, phone, password string) (*project.User, project.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	given := sha256.Sum256([]byte(password))
	want := given
	i := slices.IndexFunc(s.all, func(u *user) bool {
		return email != "" && u.Email == strings.ToLower(email) || phone != "" && u.Phone == phone
	})
	if i >= 0 {
		want = s.all[i].password
	}
	if subtle.ConstantTimeCompare(given[:], want[:]) != 1 || i < 0 {
		return nil, project.Session{}, nil
	}
	s.opened++
	opened := &session{id: uuid.NewString(), number: s.opened, user: s.all[i]}
	s.sessions = append(s.sessions, opened)
	if len(s.sessions) > maxSessions {
		s.sessions = slices.Delete(s.sessions, 0, 1)
	}
	return &opened.user.User, s.grant(opened), nil
}

// Refresh implements project.Users. A used token is good again where it is the one
// before the good one, which is what the client then gets: it may have lost the
// answer. One before that is good for the reuse interval, and gets another one.
func (s *users) Refresh(_ context.Context, token string) (*project.User, project.Session, error) {
	number, refresh, ok := s.check(token)
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.sessions, func(o *session) bool { return o.number == number })
	if !ok || i < 0 {
		return nil, project.Session{}, nil
	}
	found, now := s.sessions[i], time.Now()
	found.used = slices.DeleteFunc(found.used, func(at time.Time) bool { return now.Sub(at) > reuseInterval })
	switch behind := found.refresh - refresh; {
	case behind == 1:
	case behind > uint64(len(found.used)):
		return nil, project.Session{}, project.ErrTokenUsed
	default:
		found.refresh++
		found.used = append(found.used, now)
	}
	return &found.user.User, s.grant(found), nil
}

// HasSession implements project.Users.
func (s *users) HasSession(_ context.Context, id string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.sessions, func(o *session) bool { return o.id == id }), nil
}

// EndSessions implements project.Users.
func (s *users) EndSessions(_ context.Context, user, id, scope string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions = slices.DeleteFunc(s.sessions, func(o *session) bool {
		switch scope {
		case "local":
			return o.id == id
		case "others":
			return o.user.ID == user && o.id != id
		}
		return o.user.ID == user
	})
	return nil
}

// grant returns what the client gets of a session.
func (s *users) grant(o *session) project.Session {
	b := binary.BigEndian.AppendUint64(nil, o.number)
	b = binary.BigEndian.AppendUint64(b, o.refresh)
	return project.Session{ID: o.id, RefreshToken: base64.RawURLEncoding.EncodeToString(append(b, s.mac(b)...))}
}

// check takes a refresh token apart.
func (s *users) check(token string) (number, refresh uint64, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) != 16+sha256.Size || !hmac.Equal(b[16:], s.mac(b[:16])) {
		return 0, 0, false
	}
	return binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), true
}

func (s *users) mac(b []byte) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write(b)
	return h.Sum(nil)
}
