package auth

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/front"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

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
func (a *API) admin(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		claims, _, err := callerClaims(a.verifier, r)
		if err != nil || project.RoleOf(claims) != "service_role" {
			writeAuthError(w, http.StatusForbidden, "not_admin", "User not allowed")
			return
		}
		next(w, r)
	}
}

// createUser makes a user, whose email and phone count as confirmed. Unlike
// Auth it wants a password: there is no other way to sign in.
func (a *API) createUser(w http.ResponseWriter, r *http.Request) {
	var req adminUser
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		writeAuthError(w, http.StatusBadRequest, "bad_json", "Could not parse request body as JSON")
		return
	}
	claims := project.Claims{}
	if req.AppMetadata != nil {
		claims["app_metadata"] = req.AppMetadata
	}
	if req.UserMetadata != nil {
		claims["user_metadata"] = req.UserMetadata
	}
	u, err := newAccount(User{ID: req.ID, Email: req.Email, Phone: req.Phone, Password: req.Password, Role: req.Role, Claims: claims})
	if err == nil {
		err = a.users.CreateUser(r.Context(), *u, req.Password)
	}
	var broken *project.Error
	switch {
	case errors.As(err, &broken):
		a.failed(w, err)
	case err != nil && !errors.Is(err, project.ErrTaken):
		writeAuthError(w, http.StatusBadRequest, "validation_failed", "Cannot create a user: "+err.Error())
	case err != nil:
		writeAuthError(w, http.StatusUnprocessableEntity, "email_exists", "A user with this email address has already been registered")
	default:
		front.WriteJSON(w, http.StatusOK, userJSON(u, time.Now()))
	}
}

// oneUser answers with a user; clients ask for it before they remove it.
func (a *API) oneUser(w http.ResponseWriter, r *http.Request) {
	switch u, err := a.users.User(r.Context(), r.PathValue("id")); {
	case err != nil:
		a.failed(w, err)
	case u == nil:
		noUser(w)
	default:
		front.WriteJSON(w, http.StatusOK, userJSON(u, u.Created))
	}
}

func noUser(w http.ResponseWriter) {
	writeAuthError(w, http.StatusNotFound, "user_not_found", "User not found")
}

// deleteUser removes a user and ends its sessions.
func (a *API) deleteUser(w http.ResponseWriter, r *http.Request) {
	switch removed, err := a.users.DeleteUser(r.Context(), r.PathValue("id")); {
	case err != nil:
		a.failed(w, err)
	case !removed:
		noUser(w)
	default:
		front.WriteJSON(w, http.StatusOK, struct{}{})
	}
}
