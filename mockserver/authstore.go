package mockserver

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// authStore holds the users and their sessions. Users are passed around as they
// were found, and are not changed.
type authStore interface {
	// create adds a user with a password. The error is errTaken where another one
	// has its ID, email or phone.
	create(ctx context.Context, u *account) error
	// account returns the user of an ID, or nil.
	account(ctx context.Context, id string) (*account, error)
	// remove removes the user of an ID and its sessions, and reports whether there
	// was one.
	remove(ctx context.Context, id string) (bool, error)
	// signIn opens a session. The user is nil where there is none with that
	// password.
	signIn(ctx context.Context, email, phone, password string) (*account, sessionGrant, error)
	// refresh takes a refresh token back and gives the next one. The error is
	// errTokenUsed or errTokenUnknown.
	refresh(ctx context.Context, token string) (*account, sessionGrant, error)
	// open reports whether a session has not ended.
	open(ctx context.Context, session string) (bool, error)
	// end ends sessions of a user: that one (local), all but it (others), or all.
	end(ctx context.Context, u *account, session, scope string) error
}

var errTaken = errors.New("its Email or Phone is another user's, or its ID")

// memoryAuth is an authStore in memory.
type memoryAuth struct {
	users    accounts
	sessions *sessionStore
}

func (m *memoryAuth) create(_ context.Context, u *account) error {
	if !isRole(u.Role) {
		return fmt.Errorf("role %q does not exist", u.Role)
	}
	u.password = sha256.Sum256([]byte(u.Password))
	u.Password = ""
	if !m.users.add(u) {
		return errTaken
	}
	return nil
}

func (m *memoryAuth) account(_ context.Context, id string) (*account, error) {
	for _, u := range m.users.list() {
		if u.ID == id {
			return u, nil
		}
	}
	return nil, nil
}

func (m *memoryAuth) remove(_ context.Context, id string) (bool, error) {
	u := m.users.remove(id)
	if u != nil {
		m.sessions.end(func(_ string, owner *account) bool { return owner == u })
	}
	return u != nil, nil
}

// find returns the user of an email or phone number.
func (m *memoryAuth) find(email, phone string) *account {
	for _, u := range m.users.list() {
		if email != "" && u.Email == strings.ToLower(email) || phone != "" && u.Phone == phone {
			return u
		}
	}
	return nil
}

func (m *memoryAuth) signIn(_ context.Context, email, phone, password string) (*account, sessionGrant, error) {
	given := sha256.Sum256([]byte(password))
	u := m.find(email, phone)
	want := given
	if u != nil {
		want = u.password
	}
	if subtle.ConstantTimeCompare(given[:], want[:]) != 1 || u == nil {
		return nil, sessionGrant{}, nil
	}
	return u, m.sessions.open(u), nil
}

func (m *memoryAuth) refresh(_ context.Context, token string) (*account, sessionGrant, error) {
	return m.sessions.rotate(token)
}

func (m *memoryAuth) open(_ context.Context, session string) (bool, error) {
	return m.sessions.has(session), nil
}

func (m *memoryAuth) end(_ context.Context, u *account, session, scope string) error {
	m.sessions.end(func(id string, owner *account) bool {
		switch scope {
		case "local":
			return id == session
		case "others":
			return owner == u && id != session
		}
		return owner == u
	})
	return nil
}

// backendAuth is the authStore of a backend's database.
type backendAuth struct{ db project.Database }

func (b backendAuth) create(ctx context.Context, u *account) error {
	user := project.User{ID: u.ID, Email: u.Email, Phone: u.Phone, Role: u.Role,
		AppMetadata: mustJSON(u.appMetadata()), UserMetadata: mustJSON(u.userMetadata())}
	err := b.db.CreateUser(ctx, user, u.Password)
	if errors.Is(err, project.ErrTaken) {
		return errTaken
	}
	return err
}

func (b backendAuth) account(ctx context.Context, id string) (*account, error) {
	u, err := b.db.User(ctx, id)
	return accountOf(u), err
}

func (b backendAuth) remove(ctx context.Context, id string) (bool, error) {
	return b.db.DeleteUser(ctx, id)
}

func (b backendAuth) signIn(ctx context.Context, email, phone, password string) (*account, sessionGrant, error) {
	u, session, err := b.db.SignIn(ctx, strings.ToLower(email), phone, password)
	return accountOf(u), sessionGrant{session.ID, session.RefreshToken}, err
}

func (b backendAuth) refresh(ctx context.Context, token string) (*account, sessionGrant, error) {
	u, session, err := b.db.Refresh(ctx, token)
	switch {
	case errors.Is(err, project.ErrTokenUsed):
		err = errTokenUsed
	case err == nil && u == nil:
		err = errTokenUnknown
	}
	return accountOf(u), sessionGrant{session.ID, session.RefreshToken}, err
}

func (b backendAuth) open(ctx context.Context, session string) (bool, error) {
	return b.db.HasSession(ctx, session)
}

func (b backendAuth) end(ctx context.Context, u *account, session, scope string) error {
	return b.db.EndSessions(ctx, u.ID, session, scope)
}

// accountOf returns a user of the backend's database as one of ours; nil of
// none.
func accountOf(u *project.User) *account {
	if u == nil {
		return nil
	}
	claims := Claims{}
	for name, raw := range map[string][]byte{"app_metadata": u.AppMetadata, "user_metadata": u.UserMetadata} {
		var metadata map[string]any
		if json.Unmarshal(raw, &metadata) == nil && metadata != nil {
			claims[name] = metadata
		}
	}
	return &account{User: User{ID: u.ID, Email: u.Email, Phone: u.Phone, Role: u.Role, Claims: claims}, created: u.Created}
}
