package mockserver

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// accounts are the users that there are. It is safe for concurrent use.
type accounts struct {
	mu  sync.Mutex
	all []*account // never changed in place
}

func (a *accounts) list() []*account {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all
}

// add adds a user, unless another one has its email, phone or id.
func (a *accounts) add(u *account) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if slices.ContainsFunc(a.all, func(o *account) bool {
		return o.ID == u.ID || u.Email != "" && o.Email == u.Email || u.Phone != "" && o.Phone == u.Phone
	}) {
		return false
	}
	a.all = append(slices.Clip(a.all), u)
	return true
}

// remove removes the user of an id and returns it; nil if there is none.
func (a *accounts) remove(id string) *account {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.IndexFunc(a.all, func(u *account) bool { return u.ID == id })
	if i < 0 {
		return nil
	}
	removed := a.all[i]
	a.all = slices.Delete(slices.Clone(a.all), i, i+1)
	return removed
}

// adminUser is the body of a request for a new user.
type adminUser struct {
	ID           string         `json:"id"`
	Email        string         `json:"email"`
	Phone        string         `json:"phone"`
	Password     string         `json:"password"`
	Role         string         `json:"role"`
	AppMetadata  map[string]any `json:"app_metadata"`
	UserMetadata map[string]any `json:"user_metadata"`
}

// admin lets only the service on to the handler.
func (a *authAPI) admin(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		claims, _, err := a.server.callerClaims(r)
		if err != nil || roleOf(claims) != "service_role" {
			writeAuthError(w, http.StatusForbidden, "not_admin", "User not allowed")
			return
		}
		next(w, r)
	}
}

// createUser makes a user, whose email and phone count as confirmed. Unlike
// Auth it wants a password: there is no other way to sign in.
func (a *authAPI) createUser(w http.ResponseWriter, r *http.Request) {
	var req adminUser
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		writeAuthError(w, http.StatusBadRequest, "bad_json", "Could not parse request body as JSON")
		return
	}
	claims := Claims{}
	if req.AppMetadata != nil {
		claims["app_metadata"] = req.AppMetadata
	}
	if req.UserMetadata != nil {
		claims["user_metadata"] = req.UserMetadata
	}
	u, err := newAccount(User{ID: req.ID, Email: req.Email, Phone: req.Phone, Password: req.Password, Role: req.Role, Claims: claims})
	if err == nil {
		err = a.store.create(r.Context(), u)
	}
	var broken *project.Error
	switch {
	case errors.As(err, &broken):
		a.failed(w, err)
	case err != nil && !errors.Is(err, errTaken):
		writeAuthError(w, http.StatusBadRequest, "validation_failed", "Cannot create a user: "+err.Error())
	case err != nil:
		writeAuthError(w, http.StatusUnprocessableEntity, "email_exists", "A user with this email address has already been registered")
	default:
		writeJSON(w, http.StatusOK, u.json(time.Now()))
	}
}

// oneUser answers with a user; clients ask for it before they remove it.
func (a *authAPI) oneUser(w http.ResponseWriter, r *http.Request) {
	switch u, err := a.store.account(r.Context(), r.PathValue("id")); {
	case err != nil:
		a.failed(w, err)
	case u == nil:
		noUser(w)
	default:
		writeJSON(w, http.StatusOK, u.json(u.created))
	}
}

func noUser(w http.ResponseWriter) {
	writeAuthError(w, http.StatusNotFound, "user_not_found", "User not found")
}

// deleteUser removes a user and ends its sessions.
func (a *authAPI) deleteUser(w http.ResponseWriter, r *http.Request) {
	switch removed, err := a.store.remove(r.Context(), r.PathValue("id")); {
	case err != nil:
		a.failed(w, err)
	case !removed:
		noUser(w)
	default:
		writeJSON(w, http.StatusOK, struct{}{})
	}
}
